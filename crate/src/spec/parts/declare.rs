//! How a part's file declares fields: the values that they may hold, and the macros that make the type of a configuration
//! and the list of fields of the declarations of all parts.

use serde_json::Value;

use super::field::FieldKind;
use crate::spec::config::ConfigError;
use crate::spec::fields::Fields;

/// A value that a field of config.json may hold.
pub(super) trait FieldValue: Sized {
    const KIND: FieldKind;
    fn from_field(fields: &Fields<'_>, name: &str) -> Result<Option<Self>, ConfigError>;
    fn to_field(&self) -> Value;
}

macro_rules! field_values {
    ($($type:ty, $kind:ident, $read:expr;)+) => {
        $(impl FieldValue for $type {
            const KIND: FieldKind = FieldKind::$kind;

            fn from_field(fields: &Fields<'_>, name: &str) -> Result<Option<Self>, ConfigError> {
                let read: fn(&Fields<'_>, &str) -> Result<Option<Self>, ConfigError> = $read;
                read(fields, name)
            }

            fn to_field(&self) -> Value {
                serde_json::json!(self)
            }
        })+
    };
}

field_values! {
    usize, Size, |fields, name| fields.size(name);
    Option<usize>, OptionalSize, |fields, name| Ok(fields.said(name, fields.size(name)?));
    f64, Number, |fields, name| fields.number(name);
    Option<f64>, OptionalNumber, |fields, name| Ok(fields.said(name, fields.number(name)?));
    bool, Flag, |fields, name| fields.truth(name);
    Option<bool>, OptionalFlag, |fields, name| Ok(fields.said(name, fields.truth(name)?));
    Option<u32>, Id, |fields, name| Ok(fields.said(name, fields.id(name)?));
}

/// Gives the values of an enumeration their names in config.json.
macro_rules! words {
    ($type:ident { $($value:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// Every value.
            pub const ALL: &'static [$type] = &[$($type::$value),+];

            /// Returns the name in config.json.
            pub fn name(self) -> &'static str {
                match self {
                    $($type::$value => $word,)+
                }
            }

            /// Finds a value by its name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl $crate::spec::parts::declare::FieldValue for $type {
            const KIND: $crate::spec::FieldKind = $crate::spec::FieldKind::Word(&[$($word),+]);

            fn from_field(
                fields: &$crate::spec::fields::Fields<'_>,
                name: &str,
            ) -> Result<Option<Self>, $crate::spec::ConfigError> {
                fields.word(name, &[$(($word, $type::$value)),+])
            }

            fn to_field(&self) -> serde_json::Value {
                serde_json::Value::from(self.name())
            }
        }
    };
}
pub(super) use words;

/// As `words!`, for an enumeration with a variant `User` for registered parts of users.
macro_rules! words_or_parts {
    ($type:ident in $place:path { $($value:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// The names of the built-in ones.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// Returns the name in config.json.
            pub fn name(self) -> &'static str {
                match self {
                    $($type::$value => $word,)+
                    $type::User(part) => part.name(),
                }
            }

            /// Finds a built-in one, or the user's part for this place, by its name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($word => Some($type::$value),)+
                    _ => $crate::spec::UserPart::find(name).filter(|part| part.mixer_kind() == $place).map($type::User),
                }
            }

            /// Returns the user's part, if it is one.
            pub fn user_part(self) -> Option<$crate::spec::UserPart> {
                match self {
                    $($type::$value => None,)+
                    $type::User(part) => Some(part),
                }
            }
        }

        impl $crate::spec::parts::declare::FieldValue for $type {
            const KIND: $crate::spec::FieldKind = $crate::spec::FieldKind::WordOrPart(Self::WORDS);

            fn from_field(
                fields: &$crate::spec::fields::Fields<'_>,
                name: &str,
            ) -> Result<Option<Self>, $crate::spec::ConfigError> {
                let Some(word) = fields.text(name)? else { return Ok(None) };
                Self::from_name(word).map(Some).ok_or_else(|| fields.unknown_part(name, word, Self::WORDS, $place))
            }

            fn to_field(&self) -> serde_json::Value {
                serde_json::Value::from(self.name())
            }
        }
    };
}
pub(super) use words_or_parts;

/// A field whose value is stored in one place: `field!(NAME, TYPE, MIXER, HELP)`, with `MIXER` below the configuration.
macro_rules! field {
    ($name:expr, $type:ty, $($place:ident).+, $help:expr) => {
        $crate::spec::parts::field::Field::new(
            $name,
            $help,
            <$type as $crate::spec::parts::declare::FieldValue>::KIND,
            |reading, config| reading.take::<$type>($name, &mut config.$($place).+),
            |config| Some(<$type as $crate::spec::parts::declare::FieldValue>::to_field(&config.$($place).+)),
        )
    };
}
pub(super) use field;

/// Builds the type of a configuration and the list of fields from the declarations of all parts.
///
/// An entry is `/// help` and `name as "field": Type = default, { .more() }`, or, where several fields make one value,
/// `name: Type = default => [FIELD, …]`.
macro_rules! model_config {
    ($(part $part:literal $about:literal {
        $(
            $(#[doc = $doc:literal])+
            $name:ident $(as $json:literal)? : $type:ty = $default:expr
            $(=> [$($field:expr),+ $(,)?])?
            $(, { $($more:tt)* })?;
        )*
    })*) => {
        /// Everything that shapes a model, with every default filled in.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct ModelConfig {
            /// The family.
            pub architecture: $crate::spec::Architecture,
            /// The fields of the parts of users that it chooses, each with its value.
            pub part_fields: serde_json::Map<String, serde_json::Value>,
            $($(
                $(#[doc = $doc])+
                pub $name: $type,
            )*)*
        }

        impl ModelConfig {
            /// The defaults of the declarations. Sizes that a configuration must have are 0.
            pub(in crate::spec) fn plain(architecture: $crate::spec::Architecture) -> Self {
                Self { architecture, part_fields: serde_json::Map::new(), $($($name: $default,)*)* }
            }
        }

        /// The parts, each with the fields that it declares.
        pub const PARTS: &[PartFields] = &[$(PartFields {
            name: $part,
            about: $about,
            groups: &[$($crate::spec::parts::declare::entry!(
                ($name $($json)?) ($type) ($($doc)+) [$($($field),+)?] { $($($more)*)? }
            )),*],
        }),*];
    };
}
pub(super) use model_config;

/// The fields of one entry.
macro_rules! entry {
    (($name:ident) $type:tt $docs:tt [] $more:tt) => {
        $crate::spec::parts::declare::entry!(@ $name (stringify!($name)) $type $docs $more)
    };
    (($name:ident $json:literal) $type:tt $docs:tt [] $more:tt) => {
        $crate::spec::parts::declare::entry!(@ $name ($json) $type $docs $more)
    };
    (@ $name:ident ($json:expr) ($type:ty) ($($doc:literal)+) { $($more:tt)* }) => {
        &[$crate::spec::parts::declare::field!($json, $type, $name, concat!($($doc),+)) $($more)*]
    };
    ($name:tt $type:tt $docs:tt [$($field:expr),+] {}) => {
        &[$($field),+]
    };
}
pub(super) use entry;

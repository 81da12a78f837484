//! Parameters of a notebook: the `let`s of its cell tagged `parameters`, overridden by a cell put right after it.

use std::collections::BTreeMap;

use quote::ToTokens;
use syn::parse::Parser;
use syn::{Expr, ExprLit, Lit, Pat, Stmt, Type, UnOp};

use super::notebook::Notebook;

const DECLARED: &str = "parameters";
const INJECTED: &str = "injected-parameters";
/// The kind of an integer without a type, as in `let steps = 10;`.
const WHOLE: &str = "integer";
/// The similarity below which a name is not suggested.
const LIKE: f64 = 0.75;

/// A parameter as its cell declares it.
struct Declared {
    /// The Rust type; `&'static str` for string literals, [`WHOLE`] for numbers whose type is left to the compiler.
    kind: String,
    mutable: bool,
}

/// Why parameters cannot be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// No cell declares parameters.
    #[error("no code cell is tagged `{DECLARED}`, so `{name}` does not override anything")]
    NoCell {
        /// The first parameter that was given.
        name: String,
    },
    /// The cell does not take a parameter that was given.
    #[error("cell {cell} (tagged `{DECLARED}`) {fault}")]
    Cell {
        /// The cell, from 1.
        cell: usize,
        /// What is wrong.
        fault: ParameterFault,
    },
}

impl ParameterError {
    /// Says what to do.
    pub fn advice(&self) -> String {
        match self {
            Self::NoCell { .. } => "tag the cell that declares it, or leave out `-p`".to_owned(),
            Self::Cell { fault, .. } => fault.advice(),
        }
    }
}

/// Why a cell does not take a parameter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterFault {
    /// It cannot be read.
    #[error("is not plain Rust: {0}")]
    NotRust(syn::Error),
    /// It declares no such parameter.
    #[error("does not declare a parameter `{name}`")]
    Unknown {
        /// The name that was given.
        name: String,
        /// Those that it declares, with their types.
        declared: Vec<String>,
        /// A similar name, if there is one.
        near: Option<String>,
    },
    /// The value is not of the parameter's type.
    #[error("declares `{name}: {kind}`, and `{value}` is not such a value")]
    Value {
        /// The parameter.
        name: String,
        /// Its type.
        kind: String,
        /// What was given.
        value: String,
    },
}

impl ParameterFault {
    /// Says what to do.
    pub fn advice(&self) -> String {
        match self {
            Self::NotRust(_) => "keep `let name = literal;` lines in it, and the rest elsewhere".to_owned(),
            Self::Unknown { declared, .. } if declared.is_empty() => {
                "it does not declare any: add `let name = literal;`".to_owned()
            }
            Self::Unknown { declared, near: Some(near), .. } => {
                format!("did you mean `{near}`? it declares {}", declared.join(", "))
            }
            Self::Unknown { declared, near: None, .. } => format!("it declares {}", declared.join(", ")),
            Self::Value { name, kind, .. } => {
                format!("give `-p {name}=VALUE` a value of the type `{kind}`{}", range(kind))
            }
        }
    }
}

/// Puts the given values into the notebook.
pub(super) fn inject(notebook: &mut Notebook, given: &[(String, String)]) -> Result<(), ParameterError> {
    if given.is_empty() {
        return Ok(());
    }
    let tagged = |notebook: &Notebook, tag: &str| {
        (0..notebook.len()).find(|&index| notebook.kind(index) == "code" && notebook.has_tag(index, tag))
    };
    let Some(index) = tagged(notebook, DECLARED) else {
        return Err(ParameterError::NoCell { name: given[0].0.clone() });
    };
    let source =
        overrides(&notebook.source(index), given).map_err(|fault| ParameterError::Cell { cell: index + 1, fault })?;
    while let Some(old) = tagged(notebook, INJECTED).filter(|&old| old != index) {
        notebook.remove(old);
    }
    let index = tagged(notebook, DECLARED).map_or(0, |index| index + 1);
    notebook.insert_code(index, INJECTED, &source);
    Ok(())
}

/// Returns the source of the overriding cell.
fn overrides(source: &str, given: &[(String, String)]) -> Result<String, ParameterFault> {
    let declared = declared(source)?;
    // As in a shell, the last of several values counts; the lines are in the order of first mention.
    let mut lines: Vec<(&str, String)> = Vec::new();
    for (name, value) in given {
        let Some(Declared { kind, mutable }) = declared.get(name) else {
            return Err(unknown(name, &declared));
        };
        let Some(literal) = literal(kind, value) else {
            return Err(ParameterFault::Value { name: name.clone(), kind: kind.clone(), value: value.clone() });
        };
        let mutable = if *mutable { "mut " } else { "" };
        let annotation = if kind == WHOLE { String::new() } else { format!(": {kind}") };
        let line = format!("let {mutable}{name}{annotation} = {literal};");
        match lines.iter_mut().find(|(before, _)| before == name) {
            Some((_, before)) => *before = line,
            None => lines.push((name, line)),
        }
    }
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    Ok(format!("// Given by `chandlery run -p`\n{}", lines.join("\n")))
}

/// Returns the parameters of a cell by name, without those whose type cannot be given on the command line.
fn declared(source: &str) -> Result<BTreeMap<String, Declared>, ParameterFault> {
    let statements = syn::Block::parse_within.parse_str(source).map_err(ParameterFault::NotRust)?;
    let mut declared = BTreeMap::new();
    for statement in statements {
        let Stmt::Local(local) = statement else { continue };
        let (pattern, annotation) = match local.pat {
            Pat::Type(typed) => (*typed.pat, Some(*typed.ty)),
            other => (other, None),
        };
        let Pat::Ident(pattern) = pattern else { continue };
        let kind = match annotation {
            Some(kind) => of_type(&kind),
            None => local.init.as_ref().and_then(|init| of_value(&init.expr)),
        };
        if let Some(kind) = kind {
            declared.insert(pattern.ident.to_string(), Declared { kind, mutable: pattern.mutability.is_some() });
        }
    }
    Ok(declared)
}

fn of_type(kind: &Type) -> Option<String> {
    let name = match kind {
        Type::Reference(reference) if reference.elem.to_token_stream().to_string() == "str" => "&'static str".into(),
        Type::Path(path) => path.path.segments.last()?.to_token_stream().to_string(),
        _ => return None,
    };
    const KNOWN: &str = "i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64 bool String &'static str";
    (name == "&'static str" || KNOWN.split(' ').any(|known| known == name)).then_some(name)
}

fn of_value(value: &Expr) -> Option<String> {
    let or = |suffix: &str, default: &str| Some(if suffix.is_empty() { default } else { suffix }.to_owned());
    match value {
        Expr::Lit(ExprLit { lit, .. }) => match lit {
            Lit::Int(number) => or(number.suffix(), WHOLE),
            Lit::Float(number) => or(number.suffix(), "f64"),
            Lit::Bool(_) => Some("bool".to_owned()),
            Lit::Str(_) => Some("&'static str".to_owned()),
            _ => None,
        },
        Expr::Unary(negated) if matches!(negated.op, UnOp::Neg(_)) => of_value(&negated.expr),
        Expr::MethodCall(call) if call.method == "to_string" || call.method == "to_owned" => {
            (of_value(&call.receiver)? == "&'static str").then(|| "String".to_owned())
        }
        Expr::Call(call) if call.func.to_token_stream().to_string() == "String :: from" => Some("String".to_owned()),
        _ => None,
    }
}

/// Returns the value as a Rust literal of the type. It is parsed and written again, so that no value can inject code.
fn literal(kind: &str, value: &str) -> Option<String> {
    fn number<T: std::str::FromStr + std::fmt::Debug>(value: &str) -> Option<String> {
        // `inf` and `NaN` are numbers for the parser, but not literals.
        let text = format!("{:?}", value.trim().parse::<T>().ok()?);
        text.ends_with(|c: char| c.is_ascii_digit()).then_some(text)
    }
    match kind {
        WHOLE => value.trim().parse::<i128>().ok().map(untyped),
        "i8" => number::<i8>(value),
        "i16" => number::<i16>(value),
        "i32" => number::<i32>(value),
        "i64" => number::<i64>(value),
        "i128" => number::<i128>(value),
        "isize" => number::<isize>(value),
        "u8" => number::<u8>(value),
        "u16" => number::<u16>(value),
        "u32" => number::<u32>(value),
        "u64" => number::<u64>(value),
        "u128" => number::<u128>(value),
        "usize" => number::<usize>(value),
        "f32" => number::<f32>(value),
        "f64" => number::<f64>(value),
        "bool" => value.trim().parse::<bool>().ok().map(|value| value.to_string()),
        "String" => Some(format!("String::from({value:?})")),
        _ => Some(format!("{value:?}")),
    }
}

/// Writes an integer without a type if it fits in an `i32`, as the compiler would infer it, otherwise with a suffix.
fn untyped(number: i128) -> String {
    let suffix = if i32::try_from(number).is_ok() {
        ""
    } else if i64::try_from(number).is_ok() {
        "_i64"
    } else {
        "_i128"
    };
    format!("{number}{suffix}")
}

fn range(kind: &str) -> &'static str {
    match kind {
        "bool" => ": `true` or `false`",
        "f32" | "f64" => ": a finite number",
        _ => ": an integer in its range",
    }
}

fn unknown(name: &str, declared: &BTreeMap<String, Declared>) -> ParameterFault {
    let likeness = |candidate: &&String| strsim::jaro_winkler(name, candidate);
    let near = declared.keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|best| likeness(best) > LIKE);
    ParameterFault::Unknown {
        name: name.to_owned(),
        declared: declared.iter().map(|(name, Declared { kind, .. })| format!("`{name}: {kind}`")).collect(),
        near: near.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: &str = "// What to train\nlet steps = 10;\nlet mut rate = -1e-3;\nlet seed: u64 = 1;\nlet fast = true;\n\
                        let name = \"a\";\nlet rows = 8usize;\nlet folder = \"b\".to_string();\nlet note = String::from(\"c\");\n\
                        let list = vec![1];";

    fn of(name: &str, value: &str) -> Result<String, ParameterFault> {
        let text = overrides(CELL, &[(name.to_owned(), value.to_owned())])?;
        Ok(text.lines().nth(1).unwrap_or("").to_owned())
    }

    #[test]
    fn values_are_written_as_the_declared_type() {
        for (name, value, line) in [
            ("steps", "20", "let steps = 20;"),
            ("steps", "3000000000", "let steps = 3000000000_i64;"),
            ("rate", "2", "let mut rate: f64 = 2.0;"),
            ("seed", "18446744073709551615", "let seed: u64 = 18446744073709551615;"),
            ("fast", "false", "let fast: bool = false;"),
            ("rows", "9", "let rows: usize = 9;"),
            ("name", "x", "let name: &'static str = \"x\";"),
            ("folder", "a b", "let folder: String = String::from(\"a b\");"),
            ("note", "", "let note: String = String::from(\"\");"),
        ] {
            assert_eq!(of(name, value).unwrap(), line);
        }
    }

    #[test]
    fn no_value_injects_code() {
        let line = of("note", "\"); std::process::exit(1); (\"\n\\").unwrap();
        let statements = syn::Block::parse_within.parse_str(&line).unwrap();
        assert_eq!(statements.len(), 1, "{line}");
        for (name, value) in [("steps", "1; x()"), ("steps", "2.5"), ("seed", "-1"), ("rate", "inf"), ("fast", "1")] {
            let fault = of(name, value).unwrap_err();
            let (what, advice) = (fault.to_string(), fault.advice());
            assert!(what.contains(value) && advice.contains("-p"), "{what} {advice}");
        }
    }

    #[test]
    fn the_error_about_an_unknown_name_lists_the_known_ones() {
        let fault = of("step", "1").unwrap_err();
        let (what, advice) = (fault.to_string(), fault.advice());
        assert!(what.contains("`step`") && advice.starts_with("did you mean `steps`?"), "{what} {advice}");
        assert!(of("list", "1").unwrap_err().advice().contains("`seed: u64`"));
        assert!(
            overrides("%inspect x", &[("a".into(), "1".into())]).unwrap_err().to_string().contains("not plain Rust")
        );
    }
}

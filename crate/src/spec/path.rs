//! Parameter paths in their natural order: `layers.2` before `layers.10`.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// The dotted name of a parameter, such as `causal_lm.layer_stack.layers.0.norm1.weight`.
///
/// ```
/// use chandlery::spec::ParamPath;
/// let mut paths = [ParamPath::from("layers.10.w"), ParamPath::from("layers.2.w")];
/// paths.sort();
/// assert_eq!(paths[0].as_str(), "layers.2.w");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParamPath(String);

impl ParamPath {
    /// Returns the whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the segments between dots.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// This path with one more segment.
    pub fn join(&self, segment: &str) -> Self {
        if self.0.is_empty() { Self(segment.to_owned()) } else { Self(format!("{}.{segment}", self.0)) }
    }

    /// Returns the path without its last segment; empty if it has only one.
    pub fn parent(&self) -> Self {
        Self(self.0.rsplit_once('.').map_or_else(String::new, |(parent, _)| parent.to_owned()))
    }

    /// Returns the last segment.
    pub fn last(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or_default()
    }

    /// Returns the first number among the segments: the layer's, for a parameter of a layer.
    pub fn layer(&self) -> Option<usize> {
        self.segments().find_map(|segment| segment.parse().ok())
    }

    /// Returns the path up to and with the first number among the segments, if there is one.
    pub fn up_to_layer(&self) -> Option<Self> {
        let segments: Vec<&str> = self.segments().collect();
        let number = segments.iter().position(|segment| segment.parse::<usize>().is_ok())?;
        Some(Self(segments[..=number].join(".")))
    }

    /// Returns the path with every numeric segment replaced by `*`, and the first of the numbers: what tables fold on.
    pub fn folded(&self) -> (String, Option<usize>) {
        let fold = |segment| if str::parse::<usize>(segment).is_ok() { "*" } else { segment };
        (self.segments().map(fold).collect::<Vec<_>>().join("."), self.layer())
    }
}

impl From<&str> for ParamPath {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl From<String> for ParamPath {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl std::fmt::Display for ParamPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl Ord for ParamPath {
    fn cmp(&self, other: &Self) -> Ordering {
        let mut left = self.segments();
        let mut right = other.segments();
        loop {
            let order = match (left.next(), right.next()) {
                (None, None) => return self.0.cmp(&other.0),
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    _ => a.cmp(b),
                },
            };
            if order != Ordering::Equal {
                return order;
            }
        }
    }
}

impl PartialOrd for ParamPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_order_as_numbers_and_parents_before_children() {
        let mut names = vec!["a.10.x", "a.2.y", "a.2.x", "a", "b", "a.9"];
        names.sort_by_key(|name| ParamPath::from(*name));
        assert_eq!(names, ["a", "a.2.x", "a.2.y", "a.9", "a.10.x", "b"]);
    }

    #[test]
    fn folding_replaces_every_number_and_tells_the_first() {
        assert_eq!(ParamPath::from("layers.12.experts.3.w").folded(), ("layers.*.experts.*.w".to_owned(), Some(12)));
        assert_eq!(ParamPath::from("norm.weight").folded(), ("norm.weight".to_owned(), None));
    }
}

//! Names for the variants of a part: only as many words as tell them apart.

/// One name for each list of words: `base` alone where there is one variant, else the words that not all variants share, in
/// front of it.
///
/// `["Window", "Rotary"]` and `["Rotary"]` become `WindowAttention` and `Attention`; what is still equal is numbered.
pub(super) fn distinct_names(base: &str, variants: &[Vec<&str>]) -> Vec<String> {
    let shared = |word: &&str| variants.iter().all(|words| words.contains(word));
    let mut names: Vec<String> = Vec::with_capacity(variants.len());
    for words in variants {
        let name: String = words.iter().copied().filter(|word| !shared(word)).chain([base]).collect();
        let mut numbered = name.clone();
        let mut number = 2;
        while names.contains(&numbered) {
            numbered = format!("{name}{number}");
            number += 1;
        }
        names.push(numbered);
    }
    names
}

/// Position of `value` in `list`, where it is added if it is new.
pub(super) fn position<T: PartialEq>(list: &mut Vec<T>, value: T) -> usize {
    match list.iter().position(|known| *known == value) {
        Some(index) => index,
        None => {
            list.push(value);
            list.len() - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_differs_and_no_more() {
        assert_eq!(distinct_names("Attention", &[vec!["Window", "Rotary"]]), ["Attention"]);
        let two = [vec!["Window", "Rotary"], vec!["Rotary"], vec!["Rotary"]];
        assert_eq!(distinct_names("Attention", &two), ["WindowAttention", "Attention", "Attention2"]);
    }
}

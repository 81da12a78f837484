//! Names for the variants of a part, with only as many words as distinguish them.

/// Returns one name for each list of words: `base` alone if there is one variant, otherwise `base` after as few of the
/// first words as distinguish it.
///
/// `["Window", "Rotary"]` and `["Alibi"]` become `WindowAttention` and `AlibiAttention`; variants with the same words
/// are numbered.
pub(super) fn distinct_names(base: &str, variants: &[Vec<&str>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(variants.len());
    for (index, words) in variants.iter().enumerate() {
        let others = || variants.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, words)| words);
        let unique = |chosen: &[&str]| !others().any(|other| chosen.iter().all(|word| other.contains(word)));
        let name =
            match (0..=words.len()).find_map(|size| subsets(words, size).into_iter().find(|chosen| unique(chosen))) {
                Some(chosen) => chosen.concat() + base,
                None => base.to_owned(),
            };
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

/// Returns all choices of `size` of the words, in their order, early ones first.
fn subsets<'a>(words: &[&'a str], size: usize) -> Vec<Vec<&'a str>> {
    match (size, words) {
        (0, _) => vec![Vec::new()],
        (_, []) => Vec::new(),
        (_, [first, rest @ ..]) => {
            let with = subsets(rest, size - 1).into_iter().map(|mut chosen| {
                chosen.insert(0, *first);
                chosen
            });
            with.chain(subsets(rest, size)).collect()
        }
    }
}

/// Returns the position of `value` in `list`, adding it if it is new.
pub(super) fn position<T: PartialEq>(list: &mut Vec<T>, value: T) -> usize {
    match list.iter().position(|known| *known == value) {
        Some(index) => index,
        None => {
            list.push(value);
            list.len() - 1
        }
    }
}

/// Returns the text in lines of at most `width` characters, unless a word is longer.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_differs_and_no_more() {
        assert_eq!(distinct_names("Attention", &[vec!["Window", "Rotary"]]), ["Attention"]);
        let three = [vec!["Window", "Rotary"], vec!["Rotary"], vec!["Alibi"]];
        assert_eq!(distinct_names("Attention", &three), ["WindowAttention", "Attention", "AlibiAttention"]);
        let crossed = [vec!["Window", "Rotary"], vec!["Window", "Alibi"], vec!["Rotary"], vec!["Rotary"]];
        assert_eq!(
            distinct_names("Attention", &crossed),
            ["WindowRotaryAttention", "AlibiAttention", "Attention", "Attention2"]
        );
    }
}

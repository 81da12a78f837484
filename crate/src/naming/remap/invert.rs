//! The inverse of one rule.

/// A run of literal text, or the number of a group.
enum PatternPart {
    Literal(String),
    Group(usize),
}

/// Turns `layers\.(\d+)\.` → `x.$1.` into `x\.(\d+)\.` → `layers.${1}.`, or says why that cannot be.
pub(super) fn invert_one(pattern: &str, replace: &str) -> Result<(String, String), String> {
    let mut groups = Vec::new();
    let mut back = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) if !escaped.is_alphanumeric() => push(&mut back, escaped),
                other => return Err(format!("`\\{}` outside a group", other.map(String::from).unwrap_or_default())),
            },
            '(' => {
                let mut body = String::new();
                loop {
                    match chars.next() {
                        Some(')') => break,
                        Some('(') | None => return Err("nested or unclosed group".to_owned()),
                        Some('?') if body.is_empty() => return Err("a group with options".to_owned()),
                        Some(inner) => body.push(inner),
                    }
                }
                groups.push(body);
                back.push(PatternPart::Group(groups.len()));
            }
            '$' | '^' | '.' | '*' | '+' | '?' | '[' | ']' | '{' | '}' | '|' | ')' => {
                return Err(format!("`{c}` outside a group"));
            }
            literal => push(&mut back, literal),
        }
    }
    let mut forward = String::new();
    let mut order = Vec::new();
    for piece in replacement_pieces(replace)? {
        match piece {
            PatternPart::Literal(text) => forward.push_str(&regex::escape(&text)),
            PatternPart::Group(number) => {
                let body = number.checked_sub(1).and_then(|index| groups.get(index));
                let body = body.ok_or_else(|| format!("`${number}` names a group that is not there"))?;
                forward.push_str(&format!("({body})"));
                order.push(number);
            }
        }
    }
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (1..=groups.len()).collect::<Vec<_>>() {
        return Err("the replacement does not keep each group once".to_owned());
    }
    let back = back.into_iter().map(|piece| match piece {
        PatternPart::Literal(text) => text.replace('$', "$$"),
        // Group i of the way back is group order[i] of the rule.
        PatternPart::Group(number) => {
            format!("${{{}}}", order.iter().position(|&kept| kept == number).map_or(number, |place| place + 1))
        }
    });
    Ok((forward, back.collect()))
}

fn push(pieces: &mut Vec<PatternPart>, c: char) {
    match pieces.last_mut() {
        Some(PatternPart::Literal(text)) => text.push(c),
        _ => pieces.push(PatternPart::Literal(c.to_string())),
    }
}

fn replacement_pieces(replace: &str) -> Result<Vec<PatternPart>, String> {
    let mut pieces = Vec::new();
    let mut chars = replace.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '$' {
            push(&mut pieces, c);
            continue;
        }
        if chars.next_if_eq(&'$').is_some() {
            push(&mut pieces, '$');
            continue;
        }
        let braced = chars.next_if_eq(&'{').is_some();
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if braced && chars.next() != Some('}') {
            return Err("`${` without `}`".to_owned());
        }
        pieces.push(PatternPart::Group(digits.parse().map_err(|_| "`$` without a group number".to_owned())?));
    }
    Ok(pieces)
}

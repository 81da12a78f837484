//! Text to tokens, by the rules of Jinja's own lexer: which blanks a tag takes away, what is a number, where a tag ends.
//!
//! Source: `jinja2/lexer.py` of Jinja 3.1, with `trim_blocks` and `lstrip_blocks`, as transformers sets it up.

use super::error::Error;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Text that is written as it is.
    Data(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Text(String),
    Int(i128),
    Float(f64),
    Operator(&'static str),
}

/// A token and the line where it begins.
#[derive(Clone, Debug)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) line: usize,
}

/// The longest first.
const OPERATORS: &[&str] = &[
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

/// What a tag says about the blanks around it.
#[derive(Clone, Copy, PartialEq)]
enum Sign {
    None,
    Minus,
    Plus,
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    /// Whether what was read last ended a line.
    line_starting: bool,
    tokens: Vec<Spanned>,
}

/// Returns the tokens of a template.
pub(super) fn tokens(source: &str) -> Result<Vec<Spanned>, Error> {
    let mut text = source.replace("\r\n", "\n").replace('\r', "\n");
    if text.ends_with('\n') {
        text.pop();
    }
    let mut lexer = Lexer { rest: &text, line: 1, line_starting: true, tokens: Vec::new() };
    while !lexer.rest.is_empty() {
        lexer.data()?;
    }
    Ok(lexer.tokens)
}

impl<'a> Lexer<'a> {
    fn push(&mut self, token: Token) {
        self.tokens.push(Spanned { token, line: self.line });
    }

    /// Takes `bytes` of what is left.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        if !taken.is_empty() {
            self.line_starting = taken.ends_with('\n');
        }
        taken
    }

    fn blanks(&mut self) {
        self.take(self.rest.len() - self.rest.trim_start_matches(is_blank).len());
    }

    fn fault<T>(&self, what: impl Into<String>) -> Result<T, Error> {
        Err(Error::syntax(what, self.line))
    }

    /// Text up to the next tag, and the tag.
    fn data(&mut self) -> Result<(), Error> {
        let begin = self
            .rest
            .match_indices('{')
            .map(|(at, _)| at)
            .find(|at| matches!(self.rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')));
        let starting = self.line_starting;
        let Some(begin) = begin else {
            let text = self.rest.to_owned();
            self.push(Token::Data(text));
            self.take(self.rest.len());
            return Ok(());
        };
        let line = self.line;
        let text = self.take(begin);
        let kind = self.rest.as_bytes()[1];
        let sign = match self.rest.as_bytes().get(2) {
            Some(b'-') => Sign::Minus,
            Some(b'+') => Sign::Plus,
            _ => Sign::None,
        };
        let text = stripped(text, sign, kind != b'{', starting);
        if !text.is_empty() {
            self.tokens.push(Spanned { token: Token::Data(text.to_owned()), line });
        }
        let opening = if sign == Sign::None { 2 } else { 3 };
        match kind {
            b'#' => self.comment(opening),
            b'%' => match raw_begin(&self.rest[opening..]) {
                Some(len) => {
                    self.take(opening + len);
                    self.raw()
                }
                None => {
                    self.push(Token::BlockBegin);
                    self.take(opening);
                    self.inside("%}", Token::BlockEnd)
                }
            },
            _ => {
                self.push(Token::VariableBegin);
                self.take(opening);
                self.inside("}}", Token::VariableEnd)
            }
        }
    }

    fn comment(&mut self, opening: usize) -> Result<(), Error> {
        let Some(end) = self.rest[opening..].find("#}") else { return self.fault("a comment does not end") };
        let before = self.rest[opening..opening + end].chars().next_back();
        self.take(opening + end + 2);
        match before {
            Some('-') => self.blanks(),
            Some('+') => {}
            _ => self.newline(),
        }
        Ok(())
    }

    /// The line end after a tag.
    fn newline(&mut self) {
        if self.rest.starts_with('\n') {
            self.take(1);
        }
    }

    /// Text up to `{% endraw %}`.
    fn raw(&mut self) -> Result<(), Error> {
        let mut from = 0;
        while let Some(at) = self.rest[from..].find("{%").map(|at| at + from) {
            let tag = &self.rest[at + 2..];
            let (sign, tag) = match tag.as_bytes().first() {
                Some(b'-') => (Sign::Minus, &tag[1..]),
                Some(b'+') => (Sign::Plus, &tag[1..]),
                _ => (Sign::None, tag),
            };
            let end =
                tag.trim_start_matches(is_blank).strip_prefix("endraw").map(|end| end.trim_start_matches(is_blank));
            let (closing, after) = match end {
                Some(end) if end.starts_with("-%}") => (Sign::Minus, &end[3..]),
                Some(end) if end.starts_with("+%}") => (Sign::Plus, &end[3..]),
                Some(end) if end.starts_with("%}") => (Sign::None, &end[2..]),
                _ => {
                    from = at + 2;
                    continue;
                }
            };
            let (line, starting) = (self.line, self.line_starting);
            let consumed = self.rest.len() - after.len();
            let text = stripped(&self.rest[..at], sign, true, starting).to_owned();
            if !text.is_empty() {
                self.tokens.push(Spanned { token: Token::Data(text), line });
            }
            self.take(consumed);
            match closing {
                Sign::Minus => self.blanks(),
                Sign::Plus => {}
                Sign::None => self.newline(),
            }
            return Ok(());
        }
        self.fault("a raw block does not end")
    }

    /// The tokens of a tag, up to its end.
    fn inside(&mut self, end: &str, last: Token) -> Result<(), Error> {
        let mut open: Vec<char> = Vec::new();
        loop {
            self.blanks();
            if open.is_empty() {
                let signs: &[&str] = if end == "%}" { &["-", "+", ""] } else { &["-", ""] };
                let sign =
                    signs.iter().find(|sign| self.rest.strip_prefix(**sign).is_some_and(|rest| rest.starts_with(end)));
                if let Some(sign) = sign {
                    self.push(last);
                    self.take(sign.len() + 2);
                    match *sign {
                        "-" => self.blanks(),
                        "" if end == "%}" => self.newline(),
                        _ => {}
                    }
                    return Ok(());
                }
            }
            let Some(first) = self.rest.chars().next() else { return self.fault("a tag does not end") };
            if first.is_ascii_digit() {
                self.number()?;
            } else if first == '_' || first.is_alphanumeric() {
                let len = self.rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(self.rest.len());
                let name = self.rest[..len].to_owned();
                self.push(Token::Name(name));
                self.take(len);
            } else if first == '\'' || first == '"' {
                self.text(first)?;
            } else {
                let Some(&operator) = OPERATORS.iter().find(|operator| self.rest.starts_with(**operator)) else {
                    return self.fault(format!("unexpected character {first:?}"));
                };
                match operator {
                    "(" => open.push(')'),
                    "[" => open.push(']'),
                    "{" => open.push('}'),
                    ")" | "]" | "}" if open.pop() != operator.chars().next() => {
                        return self.fault(format!("unexpected `{operator}`"));
                    }
                    _ => {}
                }
                self.push(Token::Operator(operator));
                self.take(operator.len());
            }
        }
    }

    fn number(&mut self) -> Result<(), Error> {
        let after_dot = matches!(self.tokens.last(), Some(Spanned { token: Token::Operator("."), .. }));
        let float = float_len(self.rest).filter(|_| !after_dot);
        if let Some(len) = float {
            let digits = self.rest[..len].replace('_', "");
            let Ok(value) = digits.parse() else { return self.fault("a number is malformed") };
            self.push(Token::Float(value));
            self.take(len);
            return Ok(());
        }
        let lower = self.rest.get(..2).unwrap_or_default().to_ascii_lowercase();
        let (skip, radix) = match lower.as_str() {
            "0b" => (2, 2),
            "0o" => (2, 8),
            "0x" => (2, 16),
            _ => (0, 10),
        };
        let len = self.rest[skip..].find(|c: char| c != '_' && !c.is_digit(radix)).unwrap_or(self.rest.len() - skip);
        let digits = self.rest[skip..skip + len].replace('_', "");
        // Digits behind a zero are another number, which the parser does not expect.
        if radix == 10 && digits.len() > 1 && digits.starts_with('0') && !digits.trim_matches('0').is_empty() {
            return self.fault("a number begins with a zero");
        }
        let Ok(value) = i128::from_str_radix(&digits, radix) else {
            return self.fault("a number is malformed or too large");
        };
        self.push(Token::Int(value));
        self.take(skip + len);
        Ok(())
    }

    fn text(&mut self, quote: char) -> Result<(), Error> {
        let mut end = None;
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let Some(end) = end else { return self.fault("a text does not end") };
        let Some(text) = unescaped(&self.rest[1..end]) else { return self.fault("an escape in a text is malformed") };
        self.push(Token::Text(text));
        self.take(end + 1);
        Ok(())
    }
}

/// Blanks of Python's regular expressions.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Text before a tag, without the blanks that the tag takes away.
fn stripped(text: &str, sign: Sign, is_block: bool, line_starting: bool) -> &str {
    if sign == Sign::Minus {
        return text.trim_end_matches(is_blank);
    }
    if sign == Sign::None && is_block {
        let line = text.rfind('\n').map_or(0, |at| at + 1);
        if (line > 0 || line_starting) && text[line..].chars().all(is_blank) {
            return &text[..line];
        }
    }
    text
}

/// Returns the length of `raw %}` with its blanks.
fn raw_begin(tag: &str) -> Option<usize> {
    let rest = tag.trim_start_matches(is_blank).strip_prefix("raw")?.trim_start_matches(is_blank);
    let rest = match rest.strip_prefix("-%}") {
        Some(rest) => rest.trim_start_matches(is_blank),
        None => rest.strip_prefix("%}")?,
    };
    Some(tag.len() - rest.len())
}

/// Returns the length of a number with a point or an exponent.
fn float_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let mut at = from;
        while bytes.get(at).is_some_and(|byte| byte.is_ascii_digit() || *byte == b'_') {
            at += 1;
        }
        (at > from && bytes[from] != b'_').then_some(at)
    };
    let whole = digits(0)?;
    let fraction = (bytes.get(whole) == Some(&b'.')).then(|| digits(whole + 1)).flatten();
    let mantissa = fraction.unwrap_or(whole);
    let exponent = matches!(bytes.get(mantissa), Some(b'e' | b'E')).then(|| {
        let sign = usize::from(matches!(bytes.get(mantissa + 1), Some(b'+' | b'-')));
        digits(mantissa + 1 + sign)
    });
    exponent.flatten().or(fraction)
}

/// Returns a text with Python's escapes resolved.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'v' => out.push('\u{b}'),
            '\n' => {}
            c @ ('\\' | '\'' | '"') => out.push(c),
            'x' => out.push(escape_of(&mut chars, 2)?),
            'u' => out.push(escape_of(&mut chars, 4)?),
            'U' => out.push(escape_of(&mut chars, 8)?),
            'N' => return None,
            c @ '0'..='7' => {
                let mut value = c.to_digit(8)?;
                for _ in 0..2 {
                    match chars.peek().and_then(|c| c.to_digit(8)) {
                        Some(digit) => {
                            value = value * 8 + digit;
                            chars.next();
                        }
                        None => break,
                    }
                }
                out.push(char::from_u32(value)?);
            }
            other => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    Some(out)
}

/// The character of an escape of so many hexadecimal digits.
fn escape_of(chars: &mut impl Iterator<Item = char>, count: usize) -> Option<char> {
    let digits: String = chars.take(count).collect();
    (digits.chars().count() == count).then(|| u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)).flatten()
}

//! Python's formatting of `'%5.2f' % x`.

use super::error::{Error, Outcome, fail};
use super::text::{repr, str_of};
use super::value::Value;

/// A text may not be filled up to more characters than this.
pub(super) const MAX_WIDTH: usize = 1_000_000;

/// Flags, width and precision of a placeholder.
#[derive(Clone, Debug, Default)]
struct Style {
    left: bool,
    zero: bool,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

/// Returns `template % arguments`.
pub(super) fn percent(template: &str, arguments: &Value) -> Outcome<String> {
    let mut positional = match arguments {
        Value::Tuple(items) => items.to_vec(),
        other => vec![other.clone()],
    }
    .into_iter();
    let mut used_names = false;
    let mut out = String::new();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut named = None;
        if chars.peek() == Some(&'(') {
            chars.next();
            let (mut name, mut depth) = (String::new(), 1);
            loop {
                let Some(c) = chars.next() else { return fail("incomplete format key") };
                depth += i32::from(c == '(') - i32::from(c == ')');
                if depth == 0 {
                    break;
                }
                name.push(c);
            }
            let Value::Dict(dict) = arguments else { return fail("format requires a mapping") };
            used_names = true;
            let value = dict.get(&Value::from(name.as_str())).cloned();
            named = Some(value.ok_or_else(|| Error::new(format!("KeyError: '{name}'")))?);
        }
        let mut style = Style::default();
        while let Some(flag) = chars.next_if(|c| "-0+ #".contains(*c)) {
            match flag {
                '-' => style.left = true,
                '0' => style.zero = true,
                '#' => style.alternate = true,
                '+' => style.sign = Some('+'),
                _ => style.sign = style.sign.or(Some(' ')),
            }
        }
        let mut next = || positional.next().ok_or_else(|| Error::new("not enough arguments for format string"));
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Outcome<Option<i128>> {
            if chars.next_if_eq(&'*').is_some() {
                return next()?.int().map(Some).ok_or_else(|| Error::new("* wants int"));
            }
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            Ok(if digits.is_empty() { None } else { Some(digits.parse().map_err(|_| Error::new("width too big"))?) })
        };
        let width = number(&mut chars)?.unwrap_or(0);
        style.left |= width < 0;
        style.width = width.unsigned_abs() as usize;
        if chars.next_if_eq(&'.').is_some() {
            style.precision = Some(number(&mut chars)?.unwrap_or(0).max(0) as usize);
        }
        if style.width > MAX_WIDTH || style.precision.is_some_and(|precision| precision > MAX_WIDTH) {
            return fail("width too big");
        }
        while chars.next_if(|c| "hlL".contains(*c)).is_some() {}
        let Some(kind) = chars.next() else { return fail("incomplete format") };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match named {
            Some(value) => value,
            None => next()?,
        };
        out.push_str(&style.percent(kind, &value)?);
    }
    // What has items counts as a mapping, whose items need not all be used.
    let mapping = matches!(arguments, Value::Dict(_) | Value::List(_) | Value::Range(..) | Value::Bytes(_));
    if positional.next().is_some() && !used_names && !mapping {
        return fail("not all arguments converted during string formatting");
    }
    Ok(out)
}

impl Style {
    fn percent(&self, kind: char, value: &Value) -> Outcome<String> {
        let text = match kind {
            's' => str_of(value)?,
            'r' => repr(value)?,
            'a' => ascii(&repr(value)?),
            'c' => match (value.int(), value.text()) {
                (Some(code), _) => u32::try_from(code)
                    .ok()
                    .and_then(char::from_u32)
                    .ok_or_else(|| Error::new("%c arg not in range(0x110000)"))?
                    .to_string(),
                (_, Some(text)) if text.chars().count() == 1 => text.to_owned(),
                _ => return fail("%c requires int or char"),
            },
            'd' | 'i' | 'u' => {
                let number = match value {
                    Value::Float(number) if number.is_finite() => number.trunc() as i128,
                    other => other.int().ok_or_else(|| {
                        Error::new(format!("%{kind} format: a real number is required, not {}", value.kind()))
                    })?,
                };
                return Ok(self.number(number < 0, &self.digits(&number.unsigned_abs().to_string())));
            }
            'o' | 'x' | 'X' => {
                let number = value.int().ok_or_else(|| {
                    Error::new(format!("%{kind} format: an integer is required, not {}", value.kind()))
                })?;
                let digits = radix(number.unsigned_abs(), kind);
                let prefix = if self.alternate { format!("0{kind}") } else { String::new() };
                return Ok(self.number(number < 0, &format!("{prefix}{}", self.digits(&digits))));
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let number =
                    value.float().ok_or_else(|| Error::new(format!("must be real number, not {}", value.kind())))?;
                let digits = float_digits(number.abs(), kind, self.precision.unwrap_or(6), self.alternate);
                return Ok(self.number(number.is_sign_negative() && !number.is_nan(), &digits));
            }
            other => return fail(format!("unsupported format character '{other}'")),
        };
        let text: String = match self.precision {
            Some(precision) if kind != 'c' => text.chars().take(precision).collect(),
            _ => text,
        };
        let fill = " ".repeat(self.width.saturating_sub(text.chars().count()));
        Ok(if self.left { text + &fill } else { fill + &text })
    }

    /// Digits filled with zeros up to the precision.
    fn digits(&self, digits: &str) -> String {
        let zeros = self.precision.unwrap_or(0).saturating_sub(digits.len());
        format!("{}{digits}", "0".repeat(zeros))
    }

    fn number(&self, negative: bool, digits: &str) -> String {
        let sign = if negative { "-".to_owned() } else { self.sign.map(String::from).unwrap_or_default() };
        let missing = self.width.saturating_sub(sign.len() + digits.len());
        match (self.left, self.zero && digits.starts_with(|c: char| c.is_ascii_digit())) {
            (true, _) => format!("{sign}{digits}{}", " ".repeat(missing)),
            (_, true) => format!("{sign}{}{digits}", "0".repeat(missing)),
            _ => format!("{}{sign}{digits}", " ".repeat(missing)),
        }
    }
}

pub(super) fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() { out.push(c) } else { super::text::escape(c, &mut out) }
    }
    out
}

pub(super) fn radix(number: u128, kind: char) -> String {
    match kind {
        'b' => format!("{number:b}"),
        'o' => format!("{number:o}"),
        'x' => format!("{number:x}"),
        _ => format!("{number:X}"),
    }
}

/// The digits of a number that is not negative, as C's printf writes them.
pub(super) fn float_digits(number: f64, kind: char, precision: usize, alternate: bool) -> String {
    let upper = kind.is_ascii_uppercase();
    let digits = if !number.is_finite() {
        if number.is_nan() { "nan".to_owned() } else { "inf".to_owned() }
    } else {
        match kind.to_ascii_lowercase() {
            'f' => {
                let point = if alternate && precision == 0 { "." } else { "" };
                format!("{number:.precision$}{point}")
            }
            'e' => exponential(number, precision, alternate),
            _ => general(number, precision, alternate),
        }
    };
    if upper { digits.to_ascii_uppercase() } else { digits }
}

pub(super) fn exponential(number: f64, precision: usize, alternate: bool) -> String {
    let written = format!("{number:.precision$e}");
    let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    let point = if alternate && precision == 0 { "." } else { "" };
    format!("{digits}{point}e{sign}{exponent:0>2}")
}

pub(super) fn general(number: f64, precision: usize, alternate: bool) -> String {
    let precision = precision.max(1);
    let written = format!("{number:.*e}", precision - 1);
    let exponent: i32 = written.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let plain = (-4..precision as i32).contains(&exponent);
    let digits = match plain {
        true => format!("{number:.*}", (precision as i32 - 1 - exponent).max(0) as usize),
        false => exponential(number, precision - 1, false),
    };
    if alternate {
        return digits;
    }
    let (mantissa, exponent) = match digits.split_once('e') {
        Some((mantissa, exponent)) => (mantissa.to_owned(), format!("e{exponent}")),
        None => (digits, String::new()),
    };
    let mantissa = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => mantissa,
    };
    mantissa + &exponent
}

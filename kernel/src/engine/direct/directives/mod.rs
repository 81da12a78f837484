//! Directives: lines that start with `%` (`%inspect model`, `%%time`) or, as in evcxr, with `:` (`:vars`). They come
//! before the Rust code of a cell; `:dep` may also come between statements; `%%bash` makes the whole cell a script.

mod complete;
mod depend;
mod error;
mod explain;
mod hint;
mod lines;
mod list;
mod run;
mod tables;
mod timing;

pub(super) use complete::{Completed, complete};
use error::DirectiveError;
pub(super) use error::UsageError;
pub(super) use explain::explain;
pub(super) use hint::advise;
use lines::{LinePlace, Reader};
pub(super) use run::{Settings, in_place};
pub(super) use timing::Spent;

/// A directive and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    /// A verb of the toolkit: the line without its sign.
    Verb(String),
    Help,
    Vars,
    Reset,
    /// A dependency, as it stands in a manifest.
    Dep(String),
    Deps,
    Offline(Option<bool>),
    Time(String),
    /// An expression whose type is shown.
    Type(String),
    Timing(Option<bool>),
    /// The words that select tests.
    Test(String),
    Shell(String, String),
    Opt(Option<char>),
    Explain(String),
    Version,
    /// A command of evcxr that has no effect here: its name and the reason.
    Needless(String, &'static str),
}

/// A directive and its line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) directive: Directive,
}

/// A cell, split into directives and Rust code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) steps: Vec<Step>,
    /// `%%time`.
    pub(super) time: bool,
    /// `%%release`.
    pub(super) release: bool,
    /// The Rust code, at its own lines.
    pub(super) rust: String,
}

/// Splits a cell. The lines of directives are empty in the Rust code, so that line numbers stay the same.
///
/// # Errors
/// A name that does not exist, or arguments that do not fit it.
pub(super) fn parse(code: &str) -> Result<Parsed, UsageError> {
    let mut parsed = Parsed::default();
    let mut reader = Reader::default();
    let mut lines = code.split_inclusive('\n').enumerate().peekable();
    let mut start = 0;
    while let Some((index, line)) = lines.next() {
        start += line.len();
        let text = reader.after_comments(line).trim_end();
        let found = written(text).filter(|found| match reader.place() {
            LinePlace::Leading => true,
            // No statement of Rust begins like this, but an expression may continue with `%`.
            LinePlace::Between => is_known(found.name),
            LinePlace::Within => false,
        });
        let Some(written) = found else {
            reader.read(line);
            parsed.rust.push_str(line);
            continue;
        };
        parsed.rust.push_str(if line.ends_with('\n') { "\n" } else { "" });
        let line = index + 1;
        let refuse = |problem: DirectiveError| UsageError { line, problem };
        let entry = list::find(written.name).map(|entry| entry.name);
        if entry == Some("dep") {
            let mut rest = written.rest.to_owned();
            while list::is_open(&rest)
                && let Some((_, more)) = lines.next()
            {
                start += more.len();
                parsed.rust.push_str(if more.ends_with('\n') { "\n" } else { "" });
                rest = format!("{rest} {}", without_comment(more.trim()));
            }
            let directive = directive(&DirectiveLine { rest: &rest, ..written }).map_err(refuse)?;
            parsed.steps.push(Step { line, directive });
            continue;
        }
        if reader.place() == LinePlace::Between {
            let DirectiveLine { sign, name, .. } = written;
            return Err(refuse(DirectiveError::AfterCode { name: format!("{sign}{name}") }));
        }
        match (written.whole, entry) {
            (true, Some("time")) if written.rest.is_empty() => parsed.time = true,
            (_, Some("release")) if written.rest.is_empty() => parsed.release = true,
            (true, Some("bash")) if written.rest.is_empty() => {
                let directive = Directive::Shell(written.name.to_owned(), code[start..].to_owned());
                parsed.steps.push(Step { line, directive });
                return Ok(parsed);
            }
            (true, Some("time" | "release" | "bash")) => {
                return Err(refuse(DirectiveError::NotAlone { name: format!("%%{}", written.name) }));
            }
            (false, Some("time")) if written.rest.is_empty() => parsed.time = true,
            _ => {
                let directive = directive(&written).map_err(refuse)?;
                parsed.steps.push(Step { line, directive });
            }
        }
    }
    Ok(parsed)
}

/// Whether a line that begins with this name can be a directive.
fn is_known(name: &str) -> bool {
    let needless = || list::NEEDLESS.iter().any(|(known, _)| *known == name);
    list::find(name).is_some() || chandlery::command::definition(name).is_some() || needless()
}

/// Returns a line without its trailing comment.
fn without_comment(line: &str) -> &str {
    let mut quoted = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match quoted {
            None if before.is_whitespace() && (line[at..].starts_with("//") || line[at..].starts_with("/*")) => {
                return line[..at].trim_end();
            }
            None if matches!(c, '"' | '\'') => quoted = Some(c),
            Some(quote) if c == quote && before != '\\' => quoted = None,
            _ => {}
        }
        before = c;
    }
    line
}

/// A directive's line: `%name rest`.
struct DirectiveLine<'a> {
    sign: &'static str,
    /// Two percent signs.
    whole: bool,
    name: &'a str,
    rest: &'a str,
}

fn written(line: &str) -> Option<DirectiveLine<'_>> {
    let (sign, text) = match line.strip_prefix('%') {
        Some(text) => ("%", text),
        // `::path` is Rust.
        None => (":", line.strip_prefix(':').filter(|text| text.starts_with(char::is_alphabetic))?),
    };
    let whole = text.starts_with('%');
    let text = text.trim_start_matches('%').trim();
    let end = text.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(text.len());
    let (name, rest) = (&text[..end], text[end..].trim());
    // Arguments for a shell or the compiler may contain comment signs.
    let is_read_by_others = list::find(name).is_some_and(|entry| ["bash", "time", "type"].contains(&entry.name));
    Some(DirectiveLine { sign, whole, name, rest: if is_read_by_others { rest } else { without_comment(rest) } })
}

fn directive(written: &DirectiveLine<'_>) -> Result<Directive, DirectiveError> {
    let DirectiveLine { sign, name, rest, .. } = *written;
    let full = || format!("{sign}{name}");
    let missing = |what, example: &str| DirectiveError::Missing {
        name: full(),
        what,
        example: format!("{sign}{name} {example}"),
    };
    let invalid = |takes| DirectiveError::Invalid { name: full(), takes, found: rest.to_owned() };
    let nothing = |directive| match rest {
        "" => Ok(directive),
        _ => Err(DirectiveError::Unexpected { name: full(), found: rest.to_owned() }),
    };
    match list::find(name).map(|entry| entry.name) {
        Some("help") => return nothing(Directive::Help),
        Some("vars") => return nothing(Directive::Vars),
        Some("reset") => return nothing(Directive::Reset),
        Some("version") => return nothing(Directive::Version),
        Some("time") => return Ok(Directive::Time(rest.to_owned())),
        Some("test") => return Ok(Directive::Test(rest.to_owned())),
        Some("type") if rest.is_empty() => return Err(missing("a variable or an expression", "x + 1")),
        Some("type") => return Ok(Directive::Type(rest.trim_end_matches(';').to_owned())),
        Some("bash") if rest.is_empty() => return Err(missing("a command", "ls")),
        Some("bash") => return Ok(Directive::Shell(name.to_owned(), rest.to_owned())),
        Some("dep") if rest.is_empty() => return Err(missing("a crate", "name = \"1\"")),
        Some("dep") => return Ok(Directive::Dep(rest.to_owned())),
        Some("deps") => return nothing(Directive::Deps),
        Some(entry @ ("timing" | "offline")) => {
            let on = match rest {
                "" => None,
                "on" | "1" => Some(true),
                "off" | "0" => Some(false),
                _ => return Err(invalid("on or off")),
            };
            return Ok(if entry == "timing" { Directive::Timing(on) } else { Directive::Offline(on) });
        }
        Some("opt") => {
            let mut level = rest.chars();
            return match (level.next(), level.next()) {
                (None, _) => Ok(Directive::Opt(None)),
                (Some(level @ ('0'..='3' | 's' | 'z')), None) => Ok(Directive::Opt(Some(level))),
                _ => Err(invalid("an opt-level: 0, 1, 2, 3, s or z")),
            };
        }
        Some("explain") => return Ok(Directive::Explain(rest.to_owned())),
        Some("release") => {
            return Err(DirectiveError::Unexpected { name: full(), found: rest.to_owned() });
        }
        _ => {}
    }
    if let Some((_, why)) = list::NEEDLESS.iter().find(|(known, _)| *known == name) {
        return Ok(Directive::Needless(format!("{sign}{name}"), why));
    }
    let line = format!("{name} {rest}");
    // Flags may come before a verb. An empty line lists the directives.
    if name.is_empty() {
        return Ok(Directive::Help);
    }
    if name.starts_with('-') || chandlery::command::definition(name).is_some() {
        return Ok(Directive::Verb(line.trim_end().to_owned()));
    }
    let meant = list::nearest(name).map(|near| format!("{sign}{near}"));
    Err(DirectiveError::Unknown { name: full(), meant, help: format!("{sign}help") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(code: &str) -> Vec<(usize, Directive)> {
        parse(code).unwrap().steps.into_iter().map(|step| (step.line, step.directive)).collect()
    }

    fn refused(code: &str) -> String {
        parse(code).unwrap_err().problem.to_string()
    }

    #[test]
    fn leading_lines_only() {
        let code = "\n// note\n %inspect x\n:vars\nlet y = 7\n% 2;\n";
        assert_eq!(steps(code), [(3, Directive::Verb("inspect x".to_owned())), (4, Directive::Vars)]);
        assert_eq!(parse(code).unwrap().rust, "\n// note\n\n\nlet y = 7\n% 2;\n");
        assert_eq!(steps("::std::process::id()"), []);
    }

    #[test]
    fn comments_may_be_before_after_and_between() {
        let dep = |line| Directive::Dep(String::from(line));
        for code in ["/* a */\n:dep x = \"1\"\n1", "// a\n:dep x = \"1\" // b\n1", "use a;\n:dep x = \"1\" /* b */\n1"]
        {
            assert_eq!(steps(code), [(2, dep("x = \"1\""))], "{code}");
        }
        assert_eq!(steps("/* a */ :dep x = \"1\""), [(1, dep("x = \"1\""))]);
        assert_eq!(steps(":dep x = { git = \"https://y\" } // z"), [(1, dep("x = { git = \"https://y\" }"))]);
        assert_eq!(steps("%bash ls // a"), [(1, Directive::Shell("bash".into(), "ls // a".into()))]);
        assert_eq!(steps("%vars // all"), [(1, Directive::Vars)]);
        assert_eq!(steps("let s = \"\n:dep x\n\";"), []);
        assert_eq!(steps("/*\n:dep x\n*/"), []);
        assert_eq!(steps("let t: u8 = match a { _ => 7 }\n%time;"), []);
        assert_eq!(parse("let x = 1;\n:dep y\nx").unwrap().rust, "let x = 1;\n\nx");
        // A table over several lines, as in a manifest.
        let code = ":dep x = { version = \"1\", // newest\n  features = [\n\"a\" ] }\nx::y()";
        assert_eq!(steps(code), [(1, dep("x = { version = \"1\", features = [ \"a\" ] }"))]);
        assert_eq!(parse(code).unwrap().rust, "\n\n\nx::y()");
        assert!(refused("let x = 1;\n:vars").contains("start of the cell"));
    }

    #[test]
    fn a_script_keeps_its_text_and_is_not_rust() {
        let parsed = parse("%%bash\necho %vars\n  :dep\n").unwrap();
        assert_eq!(parsed.rust, "\n".to_owned().trim_end().to_owned() + "\n");
        assert_eq!(parsed.steps[0].directive, Directive::Shell("bash".into(), "echo %vars\n  :dep\n".into()));
        let parsed = parse("%%time\n%%release\nlet x = 1;").unwrap();
        assert!(parsed.time && parsed.release && parsed.steps.is_empty());
        assert_eq!(parsed.rust, "\n\nlet x = 1;");
    }

    #[test]
    fn unknown_names_get_a_suggestion() {
        assert!(refused("%inspct x").contains("did you mean %inspect?"), "{}", refused("%inspct x"));
    }
}

//! Documentation as Markdown and as text. evcxr returns the HTML that it makes of rust-analyzer's Markdown, which front
//! ends render less well: code in Markdown gets highlighted. The HTML is that of CommonMark, with few tags, so the way
//! back is short; markup that a crate's author wrote by hand is left out, and its text stays.

use chandlery::display::MimeBundle;

/// Returns the documentation in both forms.
pub(crate) fn bundle(html: &str) -> MimeBundle {
    let pieces = parse(html);
    let render = |form| blocks(&pieces, form, "\n\n");
    MimeBundle::text(render(Form::Plain)).with("text/markdown", render(Form::Markdown))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Markdown,
    Plain,
}

enum DocPiece {
    Text(String),
    Element(Element),
}

struct Element {
    tag: String,
    /// The address of a link or picture, the language of code, the first number of a list.
    value: Option<String>,
    inside: Vec<DocPiece>,
}

/// Markup below this depth is text.
const DEPTH: usize = 50;

const INLINE: &[&str] = &["em", "strong", "code", "a", "img", "br"];
const BLOCKS: &[&str] = &["p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ol", "ul", "li", "hr"];

fn parse(html: &str) -> Vec<DocPiece> {
    let mut open = vec![Element { tag: String::new(), value: None, inside: Vec::new() }];
    let mut rest = html;
    while let Some(here) = open.last_mut() {
        let end = rest.find('<').unwrap_or(rest.len());
        if end > 0 {
            here.inside.push(DocPiece::Text(unescape(&rest[..end])));
        }
        let Some((inside, after)) = rest[end..].strip_prefix('<').and_then(|rest| rest.split_once('>')) else { break };
        rest = after;
        let inside = inside.trim_end_matches('/').trim_end();
        if let Some(tag) = inside.strip_prefix('/') {
            if open.iter().skip(1).any(|element| element.tag == tag) {
                close(&mut open, tag);
            }
            continue;
        }
        let (tag, attributes) = inside.split_once(' ').unwrap_or((inside, ""));
        if open.len() > DEPTH || !(INLINE.contains(&tag) || BLOCKS.contains(&tag)) {
            continue;
        }
        let value = ["href=\"", "src=\"", "class=\"language-", "start=\""].iter().find_map(|name| {
            let (_, value) = attributes.split_once(name)?;
            Some(unescape(value.split_once('"')?.0))
        });
        open.push(Element { tag: tag.to_owned(), value, inside: Vec::new() });
        if ["img", "hr", "br"].contains(&tag) {
            close(&mut open, tag);
        }
    }
    close(&mut open, "");
    open.pop().map(|root| root.inside).unwrap_or_default()
}

/// Closes the innermost element of this name, and the unclosed ones in it.
fn close(open: &mut Vec<Element>, tag: &str) {
    while open.len() > 1
        && let Some(element) = open.pop()
    {
        let found = element.tag == tag;
        if let Some(outer) = open.last_mut() {
            outer.inside.push(DocPiece::Element(element));
        }
        if found {
            break;
        }
    }
}

fn unescape(text: &str) -> String {
    let names = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&amp;", "&")];
    names.iter().fold(text.to_owned(), |text, (name, character)| text.replace(name, character))
}

/// Writes paragraphs and other blocks, separated by `between`.
fn blocks(pieces: &[DocPiece], form: Form, between: &str) -> String {
    let mut done: Vec<String> = Vec::new();
    let mut line = String::new();
    for piece in pieces {
        match piece {
            DocPiece::Element(element) if BLOCKS.contains(&element.tag.as_str()) => {
                done.push(std::mem::take(&mut line));
                done.push(block(element, form));
            }
            other => line.push_str(&inline(std::slice::from_ref(other), form)),
        }
    }
    done.push(line);
    let done = done.iter().map(|text| text.trim_matches(['\n', ' '])).filter(|text| !text.is_empty());
    done.collect::<Vec<_>>().join(between)
}

fn block(element: &Element, form: Form) -> String {
    let Element { tag, value, inside } = element;
    match (tag.as_str(), form) {
        ("hr", _) => "---".to_owned(),
        ("pre", _) => code_block(inside, form),
        ("blockquote", _) => indented(&blocks(inside, form, "\n\n"), "> ", "> "),
        ("ul" | "ol", _) => {
            let first: Option<usize> = (tag == "ol").then(|| value.as_deref().unwrap_or("1").parse().unwrap_or(1));
            let items = inside.iter().filter_map(|piece| match piece {
                DocPiece::Element(element) => Some(element),
                DocPiece::Text(_) => None,
            });
            let is_loose = |piece: &DocPiece| matches!(piece, DocPiece::Element(element) if element.tag == "p");
            let loose = items.clone().any(|item| item.inside.iter().any(is_loose));
            let between = if loose { "\n\n" } else { "\n" };
            let items = items.enumerate().map(|(number, item)| {
                let mark = first.map_or("- ".to_owned(), |first| format!("{}. ", first + number));
                indented(&blocks(&item.inside, form, between), &mark, &" ".repeat(mark.len()))
            });
            items.collect::<Vec<_>>().join(between)
        }
        (_, Form::Markdown) => {
            let level = tag.strip_prefix('h').and_then(|level| level.parse().ok()).unwrap_or(0);
            let space = if level > 0 { " " } else { "" };
            "#".repeat(level) + space + &line_starts_escaped(&inline(inside, form))
        }
        (_, Form::Plain) => inline(inside, form),
    }
}

/// Writes a code block: Rust by default, as in all of Rust's documentation; lines that only make an example compile are
/// left out.
fn code_block(inside: &[DocPiece], form: Form) -> String {
    let language = inside.iter().find_map(|piece| match piece {
        DocPiece::Element(code) if code.tag == "code" => code.value.as_deref(),
        _ => None,
    });
    let text = words(inside);
    let is_rust = language.is_none_or(is_rust);
    let shown = text.lines().filter(|line| {
        let line = line.trim_start();
        !(is_rust && (line == "#" || line.starts_with("# ") || line.starts_with("#\t")))
    });
    // `##` is a `#` that is shown.
    let shown = shown.map(|line| {
        if is_rust {
            line.replacen("##", "#", usize::from(line.trim_start().starts_with("##")))
        } else {
            line.to_owned()
        }
    });
    let text = shown.collect::<Vec<_>>().join("\n");
    let text = text.trim_end_matches('\n');
    if form == Form::Plain {
        return text.to_owned();
    }
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!("{fence}{}\n{text}\n{fence}", language.filter(|_| !is_rust).unwrap_or("rust"))
}

/// Returns whether a code block of this language is Rust, including attributes that only say how it is tested.
fn is_rust(language: &str) -> bool {
    let tested = ["rust", "no_run", "should_panic", "compile_fail", "standalone_crate", "test_harness"];
    let mut words = language.split([',', ' ']).map(str::trim);
    words.all(|word| tested.contains(&word) || ["ignore", "edition", "E0"].iter().any(|start| word.starts_with(start)))
}

fn inline(pieces: &[DocPiece], form: Form) -> String {
    let mut line = String::new();
    for piece in pieces {
        let Element { tag, value, inside } = match piece {
            DocPiece::Text(text) if form == Form::Markdown => {
                line.push_str(&escaped(text));
                continue;
            }
            DocPiece::Text(text) => {
                line.push_str(text);
                continue;
            }
            DocPiece::Element(element) => element,
        };
        let address = || value.as_deref().unwrap_or_default();
        line.push_str(&match (tag.as_str(), form) {
            ("br", Form::Markdown) => "\\".to_owned(),
            ("em", Form::Markdown) => format!("*{}*", inline(inside, form)),
            ("strong", Form::Markdown) => format!("**{}**", inline(inside, form)),
            ("a", Form::Markdown) => format!("[{}](<{}>)", inline(inside, form), address()),
            ("img", Form::Markdown) => format!("![](<{}>)", address()),
            ("code", Form::Markdown) => {
                let text = words(inside);
                let fence = "`".repeat(longest_run(&text) + 1);
                let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
                format!("{fence}{space}{text}{space}{fence}")
            }
            _ => inline(inside, form),
        });
    }
    line
}

/// Returns only the text.
fn words(pieces: &[DocPiece]) -> String {
    let text = pieces.iter().map(|piece| match piece {
        DocPiece::Text(text) => text.clone(),
        DocPiece::Element(element) => words(&element.inside),
    });
    text.collect()
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn indented(text: &str, first: &str, others: &str) -> String {
    let lines = text.lines().enumerate().map(|(number, line)| match (number, line.is_empty()) {
        (0, _) => first.to_owned() + line,
        (_, true) => others.trim_end().to_owned(),
        (_, false) => others.to_owned() + line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Escapes text for Markdown.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '~' | '&' | '|') {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

/// Returns the length of a marker that makes a line a heading, a list or a quotation.
fn line_starts_escaped(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        match line[digits..].chars().next() {
            Some('.' | ')') if digits > 0 => format!("{}\\{}", &line[..digits], &line[digits..]),
            Some('#' | '>' | '-' | '+' | '=') if digits == 0 => format!("\\{line}"),
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(markdown: &str) -> String {
        let mut html = String::new();
        pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new(markdown));
        html
    }

    fn form(html: &str, mime: &str) -> String {
        bundle(html).get(mime).and_then(|text| text.as_str()).unwrap().to_owned()
    }

    #[test]
    fn markdown_comes_back_from_its_html() {
        let cases = [
            "```rust\npub fn f<T>(x: &[T]) -> Vec<T>\n```\n\n---\n\nMakes *a* **list**, see [`Vec`](https://a.b/c_d(e)).",
            "# Errors\n\n`a_b`, `` ` ``, ``` a``b ```, \\*not\\* \\_this\\_, 1 < 2 && x\\[0\\], \\&lt;\n\n## Two\nlines\\\nbroken",
            "- one\n- two\n  - deep *er*\n  - `x`\n- three",
            "3. three\n\n   more\n4. four\n\n   ```rust\n   let x = 1;\n\n   let y = 2;\n   ```",
            "> quoted\n>\n> > twice\n>\n> - in a list",
            "````rust\n/// ```\n/// code in code\n/// ```\n````\n\n\\# no heading\n\\- no list\n1\\. not either\n\\> or quotation\n\n![](https://x/y.svg)",
            "```text\na | b\n```\n\n[a]\\(b)",
        ];
        for case in cases {
            let first = html(case);
            let back = form(&first, "text/markdown");
            assert_eq!(html(&back), first, "{case}\n----\n{back}");
        }
        // Code is Rust if it does not say what it is.
        assert_eq!(form(&html("```\nlet x = 1;\n```"), "text/markdown"), "```rust\nlet x = 1;\n```");
        // Lines that only make an example compile are not shown.
        let example = html("```\n# fn main() {\n#[derive(Debug)]\nstruct X;\n#\n# }\n```\n\n```text\n# shown\n```");
        let shown = "```rust\n#[derive(Debug)]\nstruct X;\n```\n\n```text\n# shown\n```";
        assert_eq!(form(&example, "text/markdown"), shown);
        let tested = html("```no_run,edition2021\n# use a;\n## [b]\nc\n```");
        assert_eq!(form(&tested, "text/markdown"), "```rust\n# [b]\nc\n```");
    }

    #[test]
    fn text_has_no_marks_and_keeps_its_lines() {
        let shown = html(
            "```rust\nfn f(x: &str)\n```\n---\nOpens `x_y`, see [*that*](https://a.b).\n\n# Errors\n\nIf\nnot.\n\n1. one\n2. two",
        );
        assert_eq!(
            form(&shown, "text/plain"),
            "fn f(x: &str)\n\n---\n\nOpens x_y, see that.\n\nErrors\n\nIf\nnot.\n\n1. one\n2. two"
        );
    }

    #[test]
    fn other_markup_is_left_out() {
        let odd = "<div class=\"warning\"><p>Careful <sup>2</sup> &amp;lt; <b>so</b></p></div>";
        assert_eq!(form(odd, "text/plain"), "Careful 2 &lt; so");
        let long = "<blockquote>".repeat(100_000) + "deep" + &"</em></ul>".repeat(10);
        assert!(form(&long, "text/plain").ends_with("deep"));
        for broken in ["<p>open", "</p>", "<", "a < b", "<a href=\"x", "<li>alone", "<hr /><br/>"] {
            assert!(!form(broken, "text/markdown").contains("<p>"), "{broken}");
        }
    }
}

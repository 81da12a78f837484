//! Finds the tests in a definition, and rewrites it so that they can be called.

use std::ops::Range;

use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Attribute, Item, ItemFn, ItemMod, Meta, Visibility};

use crate::engine::direct::read::definition::Definition;

/// A test that a cell defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Test {
    /// Its path: `tests::adds`.
    pub(in super::super) name: String,
    /// The cell that defines it.
    pub(in super::super) cell: u32,
    /// It must panic, with a message that contains this text.
    pub(super) should_panic: Option<String>,
    /// Why it is ignored, if it is.
    pub(super) ignored: Option<String>,
    /// Why it cannot be run.
    pub(super) problem: Option<&'static str>,
    /// The `cfg`s of the test and its modules.
    pub(super) conditions: String,
}

/// A replacement that keeps the columns of the text after it, if there is room.
struct Replacement(Range<usize>, String);

#[derive(Default)]
struct FoundTest {
    tests: Vec<Test>,
    changes: Vec<Replacement>,
}

/// Returns the tests in a definition, and the definition without their attributes and with the tests visible; `None` without tests.
pub(in super::super) fn tests(definition: &Definition) -> Option<(Vec<Test>, Definition)> {
    if !definition.text.contains("test") {
        return None;
    }
    let item = syn::parse_str::<Item>(&definition.text).ok()?;
    let mut found = FoundTest::default();
    found.item(&item, definition.at.0, "", "", &definition.text);
    if found.tests.is_empty() {
        return None;
    }
    let mut text = definition.text.clone();
    found.changes.sort_by_key(|Replacement(range, _)| range.start);
    for Replacement(range, new) in found.changes.into_iter().rev() {
        text.replace_range(range, &new);
    }
    let item = syn::parse_str::<Item>(&text).ok()?;
    let range = 0..text.len();
    Some((found.tests, Definition::new(&item, text, range, definition.at)))
}

impl FoundTest {
    /// `above` is the path of the surrounding modules, ending in `::`; `conditions` are their `cfg`s.
    fn item(&mut self, item: &Item, cell: u32, above: &str, conditions: &str, text: &str) {
        match item {
            Item::Fn(function) => self.function(function, cell, above, conditions, text),
            Item::Mod(module) => self.module(module, cell, above, conditions, text),
            _ => {}
        }
    }

    fn module(&mut self, module: &ItemMod, cell: u32, above: &str, conditions: &str, text: &str) {
        let path = format!("{above}{}::", module.ident);
        let conditions = format!("{conditions}{}", cfgs(&module.attrs));
        let before = self.tests.len();
        for item in module.content.iter().flat_map(|(_, items)| items) {
            self.item(item, cell, &path, &conditions, text);
        }
        // Top-level modules are visible already.
        if self.tests.len() > before && !above.is_empty() {
            let redundant = module.attrs.iter().filter(|attribute| is_cfg_test(attribute));
            let blank = redundant.map(|attribute| attribute.span().byte_range()).collect();
            let start = module.mod_token.span.byte_range().start;
            self.open(&module.vis, &module.attrs, blank, start, text);
        }
    }

    fn function(&mut self, function: &ItemFn, cell: u32, above: &str, conditions: &str, text: &str) {
        let Some(attribute) = function.attrs.iter().find(|attribute| is_test(attribute)) else { return };
        let signature = &function.sig;
        // `#[tokio::test]` makes an asynchronous function a test; `#[tokio::main]` makes it an ordinary function.
        let path = attribute.path();
        let tokio = path.segments.first().is_some_and(|first| first.ident == "tokio");
        let mut test = Test {
            name: format!("{above}{}", signature.ident),
            cell,
            should_panic: None,
            ignored: None,
            problem: None,
            conditions: format!("{conditions}{}", cfgs(&function.attrs)),
        };
        let mut blank = Vec::new();
        for attribute in &function.attrs {
            let told = || words(attribute);
            if attribute.path().is_ident("should_panic") {
                test.should_panic = Some(told().unwrap_or_default());
            } else if attribute.path().is_ident("ignore") {
                test.ignored = Some(told().unwrap_or_default());
            } else if tokio || !is_test(attribute) {
                continue;
            }
            blank.push(attribute.span().byte_range());
        }
        if let (true, Some(last)) = (tokio, path.segments.last()) {
            self.changes.push(Replacement(last.ident.span().byte_range(), "main".to_owned()));
        }
        test.problem = if !signature.inputs.is_empty() {
            Some("a test takes no arguments")
        } else if !signature.generics.params.is_empty() {
            Some("a test has no generic parameters")
        } else if signature.asyncness.is_some() && !tokio {
            Some("an asynchronous function is a test with `#[tokio::test]`")
        } else if signature.unsafety.is_some() {
            Some("a test is not `unsafe`")
        } else {
            None
        };
        let start = signature.span().byte_range().start;
        self.open(&function.vis, &function.attrs, blank, start, text);
        self.tests.push(test);
    }

    /// Blanks attributes out and makes the item visible: in place of the last attribute if that is one of them, otherwise
    /// before the item's first word.
    fn open(
        &mut self,
        visibility: &Visibility,
        attributes: &[Attribute],
        blank: Vec<Range<usize>>,
        start: usize,
        text: &str,
    ) {
        let private = matches!(visibility, Visibility::Inherited);
        let last = attributes.last().map(|attribute| attribute.span().byte_range());
        let mut opened = !private;
        for range in blank {
            let mut new: String = text[range.clone()].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
            if !opened && last.as_ref() == Some(&range) && new.starts_with("    ") {
                new.replace_range(..3, "pub");
                opened = true;
            }
            self.changes.push(Replacement(range, new));
        }
        if !opened {
            self.changes.push(Replacement(start..start, "pub ".to_owned()));
        }
    }
}

/// `#[test]`, by whatever path.
fn is_test(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|last| last.ident == "test")
        && !matches!(attribute.meta, Meta::NameValue(_))
}

/// Returns the `cfg` attributes except `#[cfg(test)]`, which is true.
fn cfgs(attributes: &[Attribute]) -> String {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg") && !is_cfg_test(attribute));
    conditions.map(|attribute| attribute.to_token_stream().to_string()).collect()
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
}

/// Returns the text of `#[ignore = "…"]`, `#[should_panic = "…"]` or `#[should_panic(expected = "…")]`.
fn words(attribute: &Attribute) -> Option<String> {
    let of = |value: &syn::Expr| match value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    };
    match &attribute.meta {
        Meta::Path(_) => None,
        Meta::NameValue(pair) => of(&pair.value),
        Meta::List(list) => {
            let pair = list.parse_args::<syn::MetaNameValue>().ok()?;
            pair.path.is_ident("expected").then(|| of(&pair.value)).flatten()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::direct::read::split::split;

    fn of(code: &str) -> (Vec<Test>, String) {
        let parsed = split(code, 3).unwrap();
        let (tests, definition) = super::tests(&parsed.definitions[0]).unwrap();
        (tests, definition.text)
    }

    #[test]
    fn attributes_are_removed_and_columns_stay() {
        let (tests, text) = of("#[test] #[should_panic(expected = \"é\")]\n#[ignore]\nfn f() { g() }");
        assert_eq!(text, "                                       \npub      \nfn f() { g() }");
        assert_eq!((tests[0].should_panic.as_deref(), tests[0].ignored.as_deref()), (Some("é"), Some("")));
        let (_, text) = of("#[test]\n#[allow(unused)]\nfn f() {}");
        assert_eq!(text, "       \n#[allow(unused)]\npub fn f() {}");
        let (tests, text) = of("#[tokio::test(flavor = \"current_thread\")]\nasync fn f() {}");
        assert_eq!(text, "#[tokio::main(flavor = \"current_thread\")]\npub async fn f() {}");
        assert_eq!(tests[0].problem, None);
    }

    #[test]
    fn modules_of_tests_are_searched() {
        let code = "mod a {\n    #[cfg(test)]\n    mod tests { #[test] fn x() {} #[test] pub fn y() {} fn z() {} }\n}";
        let (tests, text) = of(code);
        assert_eq!(tests.iter().map(|test| test.name.as_str()).collect::<Vec<_>>(), ["a::tests::x", "a::tests::y"]);
        assert_eq!(
            text,
            "mod a {\n    pub         \n    mod tests { pub     fn x() {}         pub fn y() {} fn z() {} }\n}"
        );
        let (tests, text) = of("#[cfg(test)] mod tests { #[cfg(unix)] #[test] fn x() {} }");
        assert!(text.starts_with("#[cfg(test)] mod tests { #[cfg(unix)] pub     fn x"), "{text}");
        assert_eq!(tests[0].conditions, "# [cfg (unix)]");
        assert!(super::tests(&split("fn test() {}", 1).unwrap().definitions[0]).is_none());
    }

    #[test]
    fn what_cannot_be_a_test_says_why() {
        assert!(of("#[test] fn f(x: u8) {}").0[0].problem.is_some_and(|why| why.contains("arguments")));
        assert!(of("#[test] async fn f() {}").0[0].problem.is_some_and(|why| why.contains("tokio")));
    }
}

//! Which modules of a crate name which others, read off the syntax of its sources.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A top-level module that names another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dependency {
    pub(super) from: String,
    /// The other module. `*` for everything in the root, and `?name` for a name of the root that no module is known for.
    pub(super) to: String,
    /// File and line.
    pub(super) at: String,
}

/// The source files of a crate without those that only tests have.
pub(super) struct Crate {
    files: Vec<SourceFile>,
    modules: BTreeSet<String>,
    /// Names that the root takes from its modules; from other crates, nothing.
    root_names: BTreeMap<String, Option<String>>,
}

struct SourceFile {
    /// The file's path below the crate's `src`.
    name: String,
    /// The path of its module, from the root.
    module: Vec<String>,
    syntax: syn::File,
}

impl Crate {
    /// Follows the `mod` items from `lib.rs` on. `read` returns the text of a file below `src`, if it exists.
    pub(super) fn read(read: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut files = vec![SourceFile::parse("lib.rs", Vec::new(), &read("lib.rs").expect("lib.rs exists"))];
        let mut next = 0;
        while next < files.len() {
            let (file, module) = (&files[next], files[next].module.clone());
            let children: Vec<Vec<String>> =
                file.child_modules().map(|child| module.iter().cloned().chain([child]).collect()).collect();
            for child in children {
                let folder = child.join("/");
                let names = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
                let found = names.iter().find_map(|name| Some((name, read(name)?)));
                let (name, text) = found.unwrap_or_else(|| panic!("module {folder} has no file"));
                files.push(SourceFile::parse(name, child, &text));
            }
            next += 1;
        }
        let modules: BTreeSet<String> = files[0].child_modules().collect();
        let root_names = files[0].root_names(&modules);
        Self { files, modules, root_names }
    }

    /// The modules that `lib.rs` declares.
    pub(super) fn modules(&self) -> &BTreeSet<String> {
        &self.modules
    }

    /// Every place where a module names another one. `lib.rs` itself may name all of them.
    pub(super) fn dependencies(&self) -> Vec<Dependency> {
        let mut found = Vec::new();
        for file in self.files.iter().filter(|file| !file.module.is_empty()) {
            let mut names = Names { sources: self, file, module: file.module.clone(), found: &mut found };
            names.visit_file(&file.syntax);
        }
        found
    }
}

impl SourceFile {
    fn parse(name: &str, module: Vec<String>, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), module, syntax }
    }

    /// The modules in files of their own that are compiled without tests.
    fn child_modules(&self) -> impl Iterator<Item = String> {
        self.syntax.items.iter().filter_map(|item| match item {
            syn::Item::Mod(module) if module.content.is_none() && !is_test(&module.attrs) => {
                Some(module.ident.to_string())
            }
            _ => None,
        })
    }

    /// What the root re-exports, and from which module.
    fn root_names(&self, modules: &BTreeSet<String>) -> BTreeMap<String, Option<String>> {
        let mut names = BTreeMap::new();
        for item in &self.syntax.items {
            if let syn::Item::Use(item) = item {
                for path in paths_of(&item.tree, &[]) {
                    let module = path.names.iter().find(|name| *name != "crate" && *name != "self");
                    names.insert(path.alias, module.filter(|name| modules.contains(*name)).cloned());
                }
            }
        }
        names
    }
}

/// A path of a `use` item, and the name that it is known by.
struct UsedPath {
    names: Vec<String>,
    alias: String,
    line: usize,
}

fn paths_of(tree: &syn::UseTree, prefix: &[String]) -> Vec<UsedPath> {
    let with = |name: String| prefix.iter().cloned().chain([name]).collect::<Vec<String>>();
    let line = tree.span().start().line;
    match tree {
        syn::UseTree::Path(path) => paths_of(&path.tree, &with(path.ident.to_string())),
        syn::UseTree::Group(group) => group.items.iter().flat_map(|tree| paths_of(tree, prefix)).collect(),
        syn::UseTree::Name(name) => {
            vec![UsedPath { names: with(name.ident.to_string()), alias: name.ident.to_string(), line }]
        }
        syn::UseTree::Rename(name) => {
            vec![UsedPath { names: with(name.ident.to_string()), alias: name.rename.to_string(), line }]
        }
        syn::UseTree::Glob(_) => vec![UsedPath { names: with("*".to_owned()), alias: "*".to_owned(), line }],
    }
}

/// True for `#[cfg(test)]` and for `#[cfg(all(test, …))]`.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let condition = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        condition == "test" || condition.starts_with("all (test")
    })
}

fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Collects the modules that the code of one file names.
struct Names<'a> {
    sources: &'a Crate,
    file: &'a SourceFile,
    /// The module that the visited code is in: the file's, or one within it.
    module: Vec<String>,
    found: &'a mut Vec<Dependency>,
}

impl Names<'_> {
    /// Notes the module that a path leads to, if it begins with `crate`, `self` or `super`.
    fn note(&mut self, path: &[String], line: usize) {
        let Some(relative) = path.iter().position(|name| !["crate", "self", "super"].contains(&name.as_str())) else {
            return;
        };
        let (start, rest) = path.split_at(relative);
        let absolute: Vec<&String> = match start.first().map(String::as_str) {
            Some("crate") => rest.iter().collect(),
            Some(_) => {
                let above = start.iter().filter(|name| *name == "super").count();
                let kept = self.module.len().saturating_sub(above);
                self.module[..kept].iter().chain(rest).collect()
            }
            None => return,
        };
        let name = absolute[0];
        let to = match self.sources.root_names.get(name) {
            _ if self.sources.modules.contains(name) => name.clone(),
            Some(Some(module)) => module.clone(),
            Some(None) => return,
            None if name == "*" => name.clone(),
            None => format!("?{name}"),
        };
        let from = &self.file.module[0];
        if to != *from {
            self.found.push(Dependency { from: from.clone(), to, at: format!("{}:{line}", self.file.name) });
        }
    }

    /// Paths in the tokens of macros and attributes, which have no syntax tree.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(name) if name == "crate" || name == "super" || name == "self" => {
                    at = self.scan_path(&tokens, at, &[]);
                    continue;
                }
                TokenTree::Group(group) => self.scan(group.stream()),
                // Attributes name functions in strings.
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    if let Ok(path) = syn::parse_str::<syn::Path>(text.trim_matches('"')) {
                        self.visit_path(&path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Reads a path, or a tree of paths, from `tokens[at]` on. Returns the place after it.
    fn scan_path(&mut self, tokens: &[TokenTree], mut at: usize, prefix: &[String]) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(name)) => path.push(name.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    let mut start = 0;
                    while start < inner.len() {
                        start = self.scan_path(&inner, start, &path);
                        start += inner[start..].iter().take_while(|token| !is_punct(token, ',')).count() + 1;
                    }
                    return at + 1;
                }
                Some(token) if is_punct(token, '*') => path.push("*".to_owned()),
                _ => return at,
            }
            let line = tokens[at].span().start().line;
            at += 1;
            let colons = tokens.get(at..at + 2).unwrap_or_default();
            if colons.len() < 2 || !colons.iter().all(|token| is_punct(token, ':')) {
                self.note(&path, line);
                return at;
            }
            at += 2;
        }
    }
}

fn is_punct(token: &TokenTree, punct: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == punct)
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for path in paths_of(&item.tree, &[]) {
            self.note(&path.names, path.line);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&names, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.scan(item.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        // Documentation may link to everything.
        if attribute.path().is_ident("doc") {
            return;
        }
        match &attribute.meta {
            syn::Meta::List(list) => self.scan(list.tokens.clone()),
            syn::Meta::NameValue(pair) => visit::visit_expr(self, &pair.value),
            syn::Meta::Path(_) => {}
        }
    }
}

//! rust-analyzer, on one package: a manifest, and a source that changes with every question.
//!
//! evcxr has the same (its `rust_analyzer.rs`, after which this is made), and shows what is private.

use std::path::Path;

use crossbeam_channel::Receiver;
use ra_ap_base_db::SourceRoot;
use ra_ap_hir::{ChangeWithProcMacros, PrefixKind};
use ra_ap_ide::{
    AnalysisHost, CompletionConfig, CompletionFieldsToResolve, CompletionItemKind, FilePosition, FileRange,
    HoverConfig, HoverDocFormat, RaFixtureConfig, SubstTyLen,
};
use ra_ap_ide_db::imports::insert_use::{ImportGranularity, InsertUseConfig};
use ra_ap_ide_db::{FxHashMap, SymbolKind};
use ra_ap_paths::{AbsPathBuf, Utf8PathBuf};
use ra_ap_project_model::{CargoConfig, ProjectManifest, ProjectWorkspace, RustLibSource};
use ra_ap_syntax::{TextRange, TextSize};
use ra_ap_vfs::file_set::FileSetConfig;
use ra_ap_vfs::loader::{Config, Directories, Entry, Handle, LoadingProgress, Message};
use ra_ap_vfs::{Change, FileId, Vfs, VfsPath};
use ra_ap_vfs_notify::NotifyHandle;

use crate::messages::Match;

/// rust-analyzer with a package loaded.
pub(crate) struct Analyzer {
    host: AnalysisHost,
    file: FileId,
}

impl Analyzer {
    /// Loads the package in a folder and all that it depends on, the standard library from the folder `std`.
    pub(crate) fn load(folder: &Path, std: &Path) -> Result<Self, String> {
        let (root, std) = (absolute(folder)?, absolute(std)?);
        let source = root.join("src/lib.rs");
        std::fs::create_dir_all(folder.join("src"))
            .and_then(|()| std::fs::write(folder.join("src/lib.rs"), ""))
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let manifest =
            ProjectManifest::from_manifest_file(root.join("Cargo.toml")).map_err(|error| error.to_string())?;
        let config =
            CargoConfig { sysroot: Some(RustLibSource::Discover), sysroot_src: Some(std), ..CargoConfig::default() };
        let workspace = ProjectWorkspace::load(manifest, &config, &|_| {}).map_err(|error| format!("{error:#}"))?;
        let mut vfs = Vfs::default();
        let path: VfsPath = source.into();
        vfs.set_file_contents(path.clone(), Some(Vec::new()));
        read(&workspace, &mut vfs);
        let (file, _) = vfs.file_id(&path).ok_or("the source does not exist")?;
        let mut change = ChangeWithProcMacros::default();
        for (file, changed) in vfs.take_changes() {
            let text = match changed.change {
                Change::Create(text, _) | Change::Modify(text, _) => String::from_utf8(text).ok(),
                Change::Delete => None,
            };
            change.change_file(file, text);
        }
        let roots = FileSetConfig::default().partition(&vfs);
        change.set_roots(roots.into_iter().map(SourceRoot::new_local).collect());
        let mut find = |path: &ra_ap_paths::AbsPath| vfs.file_id(&path.to_path_buf().into()).map(|(file, _)| file);
        let (graph, _) = workspace.to_crate_graph(&mut find, &FxHashMap::default());
        change.set_crate_graph(graph);
        let mut host = AnalysisHost::default();
        host.apply_change(change);
        Ok(Self { host, file })
    }

    /// Sets the package's source.
    pub(crate) fn set_source(&mut self, text: String) {
        let mut change = ChangeWithProcMacros::default();
        change.change_file(self.file, Some(text));
        self.host.apply_change(change);
    }

    /// Returns the completions at a position of `text`, which is the source, and the range that they replace.
    pub(crate) fn completions(&self, text: &str, at: usize) -> Option<(Vec<Match>, usize, usize)> {
        let position = FilePosition { file_id: self.file, offset: TextSize::try_from(at).ok()? };
        let items = self.host.analysis().completions(&completion(), position, None).ok()??;
        let mut range: Option<TextRange> = None;
        let mut matches: Vec<Match> = Vec::new();
        for item in items {
            let mut edits = item.text_edit.iter();
            let (Some(edit), None) = (edits.next(), edits.next()) else { continue };
            let typed = text.get(usize::from(edit.delete.start())..usize::from(edit.delete.end()))?;
            // Only completions that replace the word being typed are useful to a front end.
            if *range.get_or_insert(edit.delete) != edit.delete || !edit.insert.starts_with(typed) {
                continue;
            }
            let kind = kind(item.kind).to_owned();
            if !matches.iter().any(|found| found.text == edit.insert) {
                matches.push(Match { text: edit.insert.clone(), kind });
            }
        }
        let range = range.unwrap_or_else(|| TextRange::empty(position.offset));
        Some((matches, range.start().into(), range.end().into()))
    }

    /// Returns the documentation at a position, as Markdown.
    pub(crate) fn hover(&self, at: usize) -> Option<String> {
        let range = TextRange::empty(TextSize::try_from(at).ok()?);
        let range = FileRange { file_id: self.file, range };
        let found = self.host.analysis().hover(&hover(), range).ok()??;
        Some(found.info.markup.into())
    }
}

fn absolute(folder: &Path) -> Result<AbsPathBuf, String> {
    let path =
        Utf8PathBuf::from_path_buf(folder.to_owned()).map_err(|path| format!("not UTF-8: {}", path.display()))?;
    AbsPathBuf::try_from(path).map_err(|path| format!("not absolute: {path}"))
}

/// Reads all files of a workspace.
fn read(workspace: &ProjectWorkspace, vfs: &mut Vfs) {
    let (sender, messages): (_, Receiver<Message>) = crossbeam_channel::unbounded();
    let mut loader = NotifyHandle::spawn(sender);
    let load = workspace.to_roots().into_iter().map(|root| {
        Entry::Directories(Directories {
            extensions: vec!["rs".to_owned()],
            include: root.include,
            exclude: root.exclude,
        })
    });
    loader.set_config(Config { version: 1, load: load.collect(), watch: Vec::new() });
    for message in &messages {
        match message {
            Message::Progress { n_done: LoadingProgress::Finished, .. } => break,
            Message::Progress { .. } => {}
            Message::Loaded { files } | Message::Changed { files } => {
                for (path, content) in files {
                    vfs.set_file_contents(path.into(), content);
                }
            }
        }
    }
}

/// Inserts only names, as a person types them.
fn completion() -> CompletionConfig<'static> {
    CompletionConfig {
        enable_postfix_completions: false,
        enable_imports_on_the_fly: false,
        enable_self_on_the_fly: false,
        enable_auto_iter: false,
        enable_auto_await: false,
        enable_private_editable: false,
        enable_term_search: false,
        term_search_fuel: 0,
        full_function_signatures: false,
        callable: None,
        add_colons_to_module: false,
        add_semicolon_to_unit: false,
        snippet_cap: None,
        insert_use: InsertUseConfig {
            granularity: ImportGranularity::Item,
            enforce_granularity: false,
            prefix_kind: PrefixKind::ByCrate,
            group: false,
            skip_glob_imports: false,
        },
        prefer_no_std: false,
        prefer_prelude: true,
        prefer_absolute: false,
        snippets: Vec::new(),
        limit: None,
        fields_to_resolve: CompletionFieldsToResolve::empty(),
        exclude_flyimport: Vec::new(),
        exclude_traits: &[],
        ra_fixture: RaFixtureConfig::default(),
    }
}

fn hover() -> HoverConfig<'static> {
    HoverConfig {
        links_in_hover: true,
        memory_layout: None,
        documentation: true,
        keywords: true,
        format: HoverDocFormat::Markdown,
        max_trait_assoc_items_count: None,
        max_fields_count: Some(5),
        max_enum_variants_count: Some(5),
        max_subst_ty_len: SubstTyLen::Unlimited,
        show_drop_glue: false,
        ra_fixture: RaFixtureConfig::default(),
    }
}

/// Returns the kind of a candidate, in the terms of front ends.
fn kind(kind: CompletionItemKind) -> &'static str {
    use CompletionItemKind as Kind;
    match kind {
        Kind::SymbolKind(SymbolKind::Function | SymbolKind::Method | SymbolKind::Macro | SymbolKind::ProcMacro) => {
            "function"
        }
        Kind::SymbolKind(
            SymbolKind::Struct
            | SymbolKind::Enum
            | SymbolKind::Union
            | SymbolKind::Trait
            | SymbolKind::TypeAlias
            | SymbolKind::TypeParam
            | SymbolKind::SelfType,
        ) => "class",
        Kind::SymbolKind(SymbolKind::Module | SymbolKind::CrateRoot | SymbolKind::ToolModule) => "module",
        Kind::SymbolKind(
            SymbolKind::Derive | SymbolKind::DeriveHelper | SymbolKind::Attribute | SymbolKind::BuiltinAttr,
        ) => "function",
        Kind::Keyword => "keyword",
        _ => "instance",
    }
}

//! The directives of this engine, and the commands of evcxr that have no effect here.

/// A directive, for the list that `%help` shows, for completion and for suggestions.
pub(in crate::engine::direct) struct Entry {
    /// Its name.
    pub(in crate::engine::direct) name: &'static str,
    /// Its aliases.
    pub(super) also: &'static [&'static str],
    /// Its usage.
    pub(super) usage: &'static str,
    /// A description of what it does.
    pub(super) what: &'static str,
}

const fn entry(name: &'static str, usage: &'static str, what: &'static str) -> Entry {
    Entry { name, also: &[], usage, what }
}

/// The directives, in the order of `%help`. The toolkit's verbs can be used as well.
pub(in crate::engine::direct) const ENTRIES: &[Entry] = &[
    entry("help", "%help", "This table"),
    entry("vars", "%vars", "List the variables: type, value, the cell that made them"),
    Entry { also: &["clear"], ..entry("reset", "%reset", "Forget all variables and definitions") },
    entry(
        "dep",
        "%dep NAME = \"1\"",
        "Build and load a crate for all later cells; or NAME = { path or git = \"…\", … }; --update NAME … for the newest",
    ),
    Entry { also: &["show_deps"], ..entry("deps", "%deps", "List the crates that %dep loaded") },
    entry("offline", "%offline [on|off]", "Set whether %dep works without the network"),
    entry(
        "time",
        "%time STATEMENT",
        "Run a statement once and say how long compiling and running took; %%time: the cell",
    ),
    Entry {
        also: &["t"],
        ..entry("type", "%type EXPRESSION", "Show the type of a variable or an expression without running it")
    },
    entry(
        "test",
        "%test [NAME …]",
        "Run the tests that cells define, after the code of this cell: those whose name contains NAME, or all",
    ),
    entry("timing", "%timing [on|off]", "Say after each cell how long its steps took"),
    Entry { also: &["sh"], ..entry("bash", "%bash COMMAND", "Run a shell command; %%bash: the cell is a script") },
    entry("release", "%%release", "Compile this cell at opt-level 3, for loops of your own"),
    entry("opt", "%opt [0|1|2|3]", "Compile the cells that follow at this opt-level; alone, switch between 0 and 2"),
    entry("explain", "%explain [CODE]", "Show the compiler's explanation of an error, by default the last one"),
    entry("version", "%version", "Show the versions of the kernel and the compiler"),
];

/// Commands of evcxr that notebooks may contain and that have no effect here, with the reason.
pub(super) const NEEDLESS: &[(&str, &str)] = &[
    ("allow_static_linking", "the toolkit and all dependencies are shared by the cells, including statics"),
    ("build_env", "cargo sees the environment that the kernel was started with"),
    ("cache", "dependencies are always cached"),
    ("codegen_backend", "cells are compiled by the toolkit's own compiler"),
    ("efmt", "an error that `?` returns is shown by `Display`"),
    ("env", "set variables before the kernel starts, or in `%%bash` for one script"),
    ("fmt", "the value of a cell is shown by its richest form"),
    ("internal_debug", "this is another engine"),
    ("last_compile_dir", "compiled cells are removed when they are loaded"),
    ("last_error_json", "errors are shown as the compiler renders them"),
    ("linker", "cells are linked without a library, so the linker does not matter"),
    ("load_config", "there is no configuration file"),
    ("preserve_vars_on_panic", "a panic never drops variables"),
    ("quiet", "cells are quiet"),
    ("quit", "the front end's menu shuts a kernel down"),
    ("sccache", "dependencies are always cached"),
    ("time_passes", "`%timing` says how long each step takes"),
    ("toml", "`%dep` accepts everything that a line of Cargo.toml can say"),
    ("toolchain", "cells are compiled by the toolkit's own compiler"),
    ("types", "the types of variables are never printed with a value; `%vars` lists them"),
];

/// Returns the directive with this name or alias.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name || entry.also.contains(&name))
}

/// Returns all names that may follow the sign, including the toolkit's verbs.
pub(in crate::engine::direct) fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.name).chain(chandlery::command::verbs())
}

/// Whether the table of a dependency has unclosed brackets.
pub(super) fn is_open(text: &str) -> bool {
    let mut quoted = None;
    let open = text.chars().fold(0, |open, c| match (quoted, c) {
        (Some(quote), c) => {
            quoted = if c == quote { None } else { Some(quote) };
            open
        }
        (None, '"' | '\'') => {
            quoted = Some(c);
            open
        }
        (None, '{' | '[') => open + 1,
        (None, '}' | ']') => open - 1,
        _ => open,
    });
    open > 0
}

/// Returns the name that is most like one that does not exist, if any is like it.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let also = ENTRIES.iter().flat_map(|entry| entry.also).copied();
    let near = names().chain(also).map(|known| (strsim::damerau_levenshtein(name, known), known));
    near.filter(|(distance, known)| *distance <= 1 + known.len() / 4).min().map(|(_, known)| known)
}

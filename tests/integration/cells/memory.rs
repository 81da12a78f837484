//! Cells that run out of memory: by a failing allocation, and by the system killing the process.

use std::path::{Path, PathBuf};
use std::process::Command;

use chandlery_kernel::engine::Stream;
use serde_json::{Value, json};

use super::Notebook;

#[test]
fn allocating_beyond_a_limit_only_loses_the_variables() {
    let mut nb = Notebook::new();
    nb.ok("fn helper() -> i32 { 7 }\nlet kept = 1;");
    // What the worker may map, from now on: what it has, and 300 MB more (RLIMIT_AS is 9).
    nb.ok("unsafe extern \"C\" { fn setrlimit(resource: i32, limit: *const [u64; 2]) -> i32; }\n\
         let pages: u64 = std::fs::read_to_string(\"/proc/self/statm\")?.split(' ').next().unwrap_or(\"\").parse()?;\n\
         let limit = pages * 4096 + (300 << 20); assert_eq!(unsafe { setrlimit(9, &[limit, limit]) }, 0);");
    let (name, value, _) =
        nb.fails("println!(\"so far\");\nlet mut all = Vec::new();\nloop { all.push(vec![1u8; 1 << 20]); }");
    assert_eq!(name, "WorkerDied");
    assert!(value.starts_with("SIGABRT: out of memory, an allocation failed; variables lost: kept"), "{value}");
    assert_eq!(nb.text(Stream::Stdout), "so far\n");
    assert!(nb.text(Stream::Stderr).contains("memory allocation of 1048576 bytes failed"));
    let (_, _, traceback) = nb.fails("kept");
    assert!(traceback.contains("lost when the worker ended in cell 3"), "{traceback}");
    // The next worker does not have this limit.
    assert_eq!(nb.ok("vec![1u8; 400 << 20].len() as i32 + helper()"), "419430407");
}

/// A control group of this test's own below the one it is in, with a limit of memory; `None` if it cannot be made.
struct Group(PathBuf);

impl Group {
    fn with_limit(bytes: u64) -> Option<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = |start: &str| {
            let line = own.lines().find(|line| line.contains(start))?;
            line.rsplit(':').next().map(|path| path.trim_start_matches('/').to_owned())
        };
        let places = [
            path(":memory:").map(|path| (Path::new("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes")),
            path("0::").map(|path| (Path::new("/sys/fs/cgroup").join(path), "memory.max")),
        ];
        places.into_iter().flatten().find_map(|(folder, limit)| {
            let group = Self(folder.join(format!("chandlery-test-{}", std::process::id())));
            std::fs::create_dir(&group.0).ok()?;
            std::fs::write(group.0.join(limit), bytes.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_process_that_is_killed_for_memory_is_explained() {
    // Needs the right to make groups, as root has where the first version counts memory.
    let Some(group) = Group::with_limit(1200 << 20) else {
        eprintln!("no control group can be made here: not tested");
        return;
    };
    let cell = |source: &str| json!({"cell_type": "code", "id": format!("c{}", source.len()), "metadata": {}, "execution_count": null, "outputs": [], "source": source});
    let cells = [
        "fn helper() -> i32 { 7 }\nlet kept = 1;",
        "let mut all = Vec::new(); loop { all.push(vec![1u8; 1 << 20]); }",
        "static BIG: [u8; 2 << 30] = [1; 2 << 30]; BIG[3]",
        "helper()",
    ];
    let folder = tempfile::tempdir().unwrap();
    let cells: Vec<Value> = cells.into_iter().map(cell).collect();
    let notebook = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells});
    std::fs::write(folder.path().join("in.ipynb"), notebook.to_string()).unwrap();
    let exe = std::env::current_exe().unwrap();
    let program = exe.ancestors().map(|folder| folder.join("chandlery")).find(|program| program.is_file()).unwrap();
    let done = Command::new("sh")
        .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$1\" run in.ipynb --inplace --allow-errors"])
        .arg(&group.0)
        .arg(program)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let out: Value = serde_json::from_str(&std::fs::read_to_string(folder.path().join("in.ipynb")).unwrap()).unwrap();
    let error = |cell: usize| {
        let output = &out["cells"][cell]["outputs"][0];
        format!("{}: {}", output["ename"].as_str().unwrap_or_default(), output["evalue"].as_str().unwrap_or_default())
    };
    let why = "memory ran out, at the limit of 1.2 GiB for this process's group, and the system ended it";
    assert_eq!(error(1), format!("WorkerDied: SIGKILL: {why}; variables lost: kept"));
    assert_eq!(error(2), format!("CompilerDied: rustc was ended by signal 9: {why}; no variable was changed"));
    assert_eq!(out["cells"][3]["outputs"][0]["data"]["text/plain"], json!(["7"]));
}

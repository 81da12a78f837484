//! `chandlery kernel doctor` in environments that lack something.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use chandlery_kernel::toolkit::{BUILT_FOR, BUILT_WITH};
use serde_json::Value;

/// Runs the doctor in an environment. Returns the exit code, and the checks of one subject as `verdict: found` and fix.
struct Machine {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (home, jupyter) = (folder.path().join("home"), folder.path().join("jupyter"));
        Self { folder, variables: vec![("HOME", home), ("JUPYTER_PATH", jupyter)] }
    }

    fn with(mut self, name: &'static str, value: impl Into<PathBuf>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// A toolchain that claims to be the right one.
    fn toolchain(&self, host: &str) -> PathBuf {
        let rustc = self.folder.path().join("toolchain/bin/rustc");
        std::fs::create_dir_all(rustc.parent().unwrap()).unwrap();
        std::fs::write(&rustc, format!("#!/bin/sh\necho '{BUILT_WITH}'\n[ $1 != -vV ] || echo 'host: {host}'\n"))
            .unwrap();
        std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).unwrap();
        rustc
    }

    fn examine(&self, subject: &str) -> (i32, String, String) {
        let exe = std::env::current_exe().unwrap();
        let command = exe.ancestors().map(|folder| folder.join("chandlery")).find(|file| file.is_file()).unwrap();
        let mut doctor = Command::new(command);
        doctor.args(["kernel", "doctor", "--json"]).env_remove("XDG_DATA_HOME").env_remove("JUPYTER_DATA_DIR");
        let answer = doctor.envs(self.variables.iter().map(|(name, value)| (name, value))).output().unwrap();
        let report: Value = serde_json::from_slice(&answer.stdout).unwrap();
        let code = answer.status.code().unwrap();
        assert_eq!(report["passed"], code == 0, "{report:#}");
        let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["subject"] == subject);
        let found = checks.clone().map(|check| format!("{}: {}", check["verdict"], check["found"])).collect::<Vec<_>>();
        let fixes = checks.filter_map(|check| check["fix"].as_str()).collect::<Vec<_>>();
        (code, found.join("\n").replace('"', ""), fixes.join("\n"))
    }
}

#[test]
fn doctor_finds_nothing_missing_where_the_tests_run() {
    let (code, found, _) = Machine::new().examine("rustc");
    assert_eq!(code, 0);
    assert!(found.starts_with("good: ") && found.contains(BUILT_WITH) && found.contains(BUILT_FOR), "{found}");
}

#[test]
fn doctor_misses_a_linker() {
    let machine = Machine::new();
    // This toolchain has no rust-lld, and the path no ld.
    let rustc = machine.toolchain(BUILT_FOR);
    let machine = machine.with("RUSTC", rustc).with("PATH", "/no/such/folder");
    let (code, found, fix) = machine.examine("linker");
    assert_eq!(code, 1);
    assert!(found.starts_with("missing: no linker was found"), "{found}");
    assert!(fix.contains("apt install binutils"), "{fix}");
    let (_, found, fix) = machine.examine("rust-src");
    assert!(found.starts_with("advice: ") && fix == "`rustup component add rust-src`", "{found}\n{fix}");
    let (_, found, fix) = machine.examine("crates");
    assert!(found.starts_with("advice: no cargo") && fix.contains("rustup.rs"), "{found}\n{fix}");
    let (_, found, fix) = machine.examine("jupyter");
    assert!(found.starts_with("advice: not on the path") && fix.contains("pip install jupyterlab"), "{found}\n{fix}");
}

#[test]
fn doctor_misses_a_compiler_of_this_system() {
    let machine = Machine::new();
    let rustc = machine.toolchain("riscv64gc-unknown-elsewhere");
    let (code, found, fix) = machine.with("RUSTC", rustc).examine("rustc");
    assert_eq!(code, 1);
    assert!(found.starts_with("missing: ") && found.contains("riscv64gc-unknown-elsewhere"), "{found}");
    assert!(fix.contains(&format!("rustup target add {BUILT_FOR}")), "{fix}");
}

#[test]
fn doctor_misses_a_folder_for_cells() {
    let (code, found, fix) = Machine::new().with("TMPDIR", "/no/such/folder").examine("disk");
    assert_eq!(code, 1);
    assert!(
        found.contains("missing: `/no/such/folder` cannot be written to") && fix.contains("TMPDIR"),
        "{found}\n{fix}"
    );
}

#[test]
fn doctor_finds_a_kernelspec_whose_command_is_gone() {
    let machine = Machine::new();
    let kernels = machine.folder.path().join("jupyter/kernels");
    let write = |name: &str, command: &Path| {
        std::fs::create_dir_all(kernels.join(name)).unwrap();
        let spec = serde_json::json!({"argv": [command, "kernel", "start"], "display_name": name, "language": "rust"});
        std::fs::write(kernels.join(name).join("kernel.json"), spec.to_string()).unwrap();
    };
    let (code, found, fix) = machine.examine("kernelspec");
    assert_eq!(
        (code, fix.as_str()),
        (0, "`chandlery kernel install`"),
        "a kernel that is not installed yet is not a fault: {found}"
    );
    assert!(found.contains(&kernels.display().to_string()), "{found}");

    let command = machine.folder.path().join("chandlery");
    std::fs::write(&command, "").unwrap();
    write("chandlery", &command);
    write("python", Path::new("/no/such/python"));
    assert_eq!(machine.examine("kernelspec").0, 0, "other kernels are none of ours");
    write("older", Path::new("/no/such/place/chandlery"));
    let (code, found, fix) = machine.examine("kernelspec");
    assert_eq!(code, 1);
    assert!(found.contains("good: ") && found.contains("`/no/such/place/chandlery`, which is gone"), "{found}");
    assert!(fix.contains("chandlery kernel install --name older"), "{fix}");
}

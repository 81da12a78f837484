//! Installing and removing a kernel, with a payload of small files in place of a build.

use std::fs::File;
use std::path::{Path, PathBuf};

use chandlery_kernel::install::{InstallError, Installed, Names, Payload, Places, Rustc, Scope, install, uninstall};
use chandlery_kernel::toolkit::BUILT_WITH;
use serde_json::Value;

fn payload(folder: &Path) -> Payload {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, name).unwrap();
        path
    };
    let rustc =
        Rustc { path: PathBuf::from("/toolchain/bin/rustc"), verbose_version: format!("{BUILT_WITH}\nhost: here") };
    Payload {
        command: file("chandlery"),
        companions: vec![file("chandlery-evcxr")],
        libraries: vec![file("libchandlery.so"), file("libstd-1.so")],
        metadata: vec![file("libcandle-1.rmeta"), file("libserde_derive-1.so")],
        rustc: Some(rustc),
    }
}

fn called(name: &str) -> Names {
    Names { name: name.to_owned(), display_name: None }
}

fn place() -> (tempfile::TempDir, Places) {
    let prefix = tempfile::tempdir().unwrap();
    let places = Places::of(&Scope::Prefix(prefix.path().to_owned())).unwrap();
    (prefix, places)
}

/// The folder that a kernelspec points to.
fn folder_of(installed: &Installed) -> PathBuf {
    let command = json(&installed.spec.join("kernel.json"))["argv"][0].as_str().unwrap().to_owned();
    Path::new(&command).parent().unwrap().to_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn an_installation_is_complete_and_leaves_nothing_when_removed() {
    let (build, (prefix, places)) = (tempfile::tempdir().unwrap(), place());
    let payload = payload(build.path());
    let installed = install(&places, &called("chandlery"), &payload).unwrap();
    assert_eq!(installed.spec, prefix.path().join("share/jupyter/kernels/chandlery"));
    assert!(installed.library.starts_with(prefix.path().join("lib")));
    for name in [
        "chandlery",
        "chandlery-evcxr",
        "libchandlery.so",
        "libstd-1.so",
        "deps/libcandle-1.rmeta",
        "deps/libserde_derive-1.so",
    ] {
        assert!(installed.library.join(name).is_file(), "{name}");
    }
    for name in ["logo-32x32.png", "logo-64x64.png", "logo-svg.svg"] {
        assert!(std::fs::metadata(installed.spec.join(name)).unwrap().len() < 10_000, "{name}");
    }

    let spec = json(&installed.spec.join("kernel.json"));
    let command = installed.library.join("chandlery").display().to_string();
    assert_eq!(spec["argv"], serde_json::json!([command, "kernel", "start", "--connection-file", "{connection_file}"]));
    assert_eq!((&spec["language"], &spec["interrupt_mode"]), (&"rust".into(), &"message".into()));
    assert_eq!(spec["env"]["RUSTC"], "/toolchain/bin/rustc");
    let record = json(&installed.library.join("install.json"));
    assert!(record["rustc_verbose_version"].as_str().unwrap().ends_with("host: here"));

    // Again, over itself, and under a second name.
    let installed = install(&places, &called("chandlery"), &payload).unwrap();
    install(&places, &called("second"), &payload).unwrap();
    uninstall(&places, "second").unwrap();
    assert!(installed.library.is_dir(), "the first kernel still uses it");
    uninstall(&places, "chandlery").unwrap();
    assert!(!installed.library.exists() && !installed.spec.exists());
    assert_eq!(std::fs::read_dir(prefix.path().join("lib")).unwrap().count(), 0, "nothing is left beside it");
    assert!(payload.command.is_file(), "the build is untouched");
    assert!(matches!(uninstall(&places, "chandlery"), Err(InstallError::NotInstalled { .. })));
}

#[test]
fn a_failed_installation_keeps_the_earlier_one() {
    let (build, (prefix, places)) = (tempfile::tempdir().unwrap(), place());
    let mut payload = payload(build.path());
    let installed = install(&places, &called("chandlery"), &payload).unwrap();
    payload.metadata.push(build.path().join("gone.rmeta"));
    assert!(install(&places, &called("chandlery"), &payload).is_err());
    assert!(installed.library.join("chandlery").is_file());
    assert_eq!(std::fs::read_dir(prefix.path().join("lib")).unwrap().count(), 1);
}

#[test]
fn a_hand_written_kernelspec_keeps_the_folder_it_names() {
    let (build, (_prefix, places)) = (tempfile::tempdir().unwrap(), place());
    let spec = places.kernels().join("mine");
    std::fs::create_dir_all(&spec).unwrap();
    let command = build.path().join("chandlery");
    std::fs::write(&command, "").unwrap();
    std::fs::write(spec.join("kernel.json"), serde_json::json!({"argv": [command]}).to_string()).unwrap();
    uninstall(&places, "mine").unwrap();
    assert!(command.is_file() && !spec.exists());
}

#[test]
fn an_upgrade_leaves_running_kernels_their_folder_until_they_end() {
    let (build, (prefix, places)) = (tempfile::tempdir().unwrap(), place());
    let payload = payload(build.path());
    let old = install(&places, &called("chandlery"), &payload).unwrap();
    // As a kernel would that was started from there.
    let running = File::open(old.library.join("install.json")).unwrap();
    running.lock_shared().unwrap();

    let new = install(&places, &called("chandlery"), &payload).unwrap();
    assert_ne!(old.library, new.library);
    assert_eq!(folder_of(&new), new.library);
    assert!(old.library.join("libchandlery.so").is_file());
    assert_eq!(places.unused().iter().map(|earlier| earlier.running).collect::<Vec<_>>(), [true]);

    drop(running);
    let newest = install(&places, &called("chandlery"), &payload).unwrap();
    assert_eq!(std::fs::read_dir(prefix.path().join("lib")).unwrap().count(), 1, "only the newest is left");
    assert!(newest.library.is_dir() && places.unused().is_empty());
}

#[test]
fn two_installations_coexist_and_can_be_distinguished() {
    let (builds, (_prefix, places)) = ([tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()], place());
    let first = install(&places, &called("chandlery"), &payload(builds[0].path())).unwrap();
    let names = Names { name: "nightly".to_owned(), display_name: Some("Chandlery, tonight's".to_owned()) };
    let second = install(&places, &names, &payload(builds[1].path())).unwrap();
    let third = install(&places, &called("old"), &payload(builds[1].path())).unwrap();
    assert!(folder_of(&first) != folder_of(&second) && folder_of(&first).is_dir() && folder_of(&second).is_dir());
    let shown = |installed: &Installed| json(&installed.spec.join("kernel.json"))["display_name"].clone();
    assert_eq!(shown(&first), "Chandlery (Rust)");
    assert_eq!(shown(&second), "Chandlery, tonight's");
    assert_eq!(shown(&third), "Chandlery (Rust, old)");
    let removed = uninstall(&places, "nightly").unwrap();
    assert_eq!(removed, [second.spec, second.library]);
    assert!(folder_of(&first).join("chandlery").is_file());
}

#[test]
fn leftovers_of_a_killed_installation_are_removed_by_the_next() {
    let (build, (prefix, places)) = (tempfile::tempdir().unwrap(), place());
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let gone = child.id();
    child.wait().unwrap();
    let half = prefix.path().join("lib").join(format!("chandlery-0.0.9.part-{gone}"));
    std::fs::create_dir_all(half.join("deps")).unwrap();
    std::fs::write(half.join("chandlery"), "").unwrap();
    assert!(places.unused().is_empty());
    let installed = install(&places, &called("chandlery"), &payload(build.path())).unwrap();
    assert!(!half.exists() && installed.library.is_dir());
    assert!(
        std::fs::read_dir(&installed.spec)
            .unwrap()
            .flatten()
            .all(|f| !f.file_name().to_string_lossy().contains("part"))
    );
}

#[test]
fn a_full_disk_is_reported_before_anything_is_copied() {
    // Another file system than the build's: there files are copied, not linked.
    let memory = Path::new("/dev/shm");
    let Ok(prefix) = tempfile::tempdir_in(memory) else { return };
    let build = tempfile::tempdir().unwrap();
    let payload = payload(build.path());
    let large = File::options().write(true).open(&payload.libraries[0]).unwrap();
    if large.set_len(1 << 42).is_err() {
        return;
    }
    let places = Places::of(&Scope::Prefix(prefix.path().to_owned())).unwrap();
    let refused = install(&places, &called("chandlery"), &payload);
    assert!(matches!(&refused, Err(InstallError::Room { needed, .. }) if *needed >= 1 << 22), "{refused:?}");
    assert_eq!(std::fs::read_dir(prefix.path()).unwrap().count(), 0);
}

//! Installing and removing a kernel, with a payload of small files in place of a build.

use std::path::{Path, PathBuf};

use chandlery_kernel::install::{InstallError, Payload, Places, Rustc, Scope, install, uninstall};
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
        libraries: vec![file("libchandlery.so"), file("libstd-1.so")],
        metadata: vec![file("libcandle-1.rmeta"), file("libserde_derive-1.so")],
        rustc: Some(rustc),
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn an_installation_is_complete_and_leaves_nothing_when_removed() {
    let (build, prefix) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let places = Places::of(&Scope::Prefix(prefix.path().to_owned())).unwrap();
    let payload = payload(build.path());
    let installed = install(&places, "chandlery", &payload).unwrap();
    assert_eq!(installed.spec, prefix.path().join("share/jupyter/kernels/chandlery"));
    assert!(installed.library.starts_with(prefix.path().join("lib")));
    for name in ["chandlery", "libchandlery.so", "libstd-1.so", "deps/libcandle-1.rmeta", "deps/libserde_derive-1.so"] {
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

    // Again, over itself, and under a second name that shares the folder.
    install(&places, "chandlery", &payload).unwrap();
    install(&places, "second", &payload).unwrap();
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
    let (build, prefix) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let places = Places::of(&Scope::Prefix(prefix.path().to_owned())).unwrap();
    let mut payload = payload(build.path());
    let installed = install(&places, "chandlery", &payload).unwrap();
    payload.metadata.push(build.path().join("gone.rmeta"));
    assert!(install(&places, "chandlery", &payload).is_err());
    assert!(installed.library.join("chandlery").is_file());
    assert_eq!(std::fs::read_dir(prefix.path().join("lib")).unwrap().count(), 1);
}

#[test]
fn a_hand_written_kernelspec_never_costs_the_folder_it_points_to() {
    let (build, prefix) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let places = Places::of(&Scope::Prefix(prefix.path().to_owned())).unwrap();
    let spec = places.kernels().join("mine");
    std::fs::create_dir_all(&spec).unwrap();
    let command = build.path().join("chandlery");
    std::fs::write(&command, "").unwrap();
    std::fs::write(spec.join("kernel.json"), serde_json::json!({"argv": [command]}).to_string()).unwrap();
    uninstall(&places, "mine").unwrap();
    assert!(command.is_file() && !spec.exists());
}

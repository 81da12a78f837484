//! Records the compiler: cells must be compiled by the very rustc that built the toolkit, and the command shares that
//! rustc's standard library.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=RUSTC");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=CHANDLERY_RUSTC={}", rustc(&["--version"]));
    println!("cargo::rustc-env=CHANDLERY_SYSROOT={}", rustc(&["--print", "sysroot"]));

    // `-Crpath` finds the standard library relative to `target/release/deps`; cargo then links the command into
    // `target/release`, from where that path leads astray. Installed commands have the library beside them.
    let host = std::env::var("TARGET").expect("cargo sets TARGET");
    println!("cargo::rustc-env=CHANDLERY_TARGET={host}");
    let library = Path::new(&rustc(&["--print", "sysroot"])).join("lib/rustlib").join(host).join("lib");
    println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{}", library.display());
}

fn rustc(words: &[&str]) -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let answer = Command::new(rustc).args(words).output().expect("cargo names a rustc that runs");
    String::from_utf8_lossy(&answer.stdout).trim().to_owned()
}

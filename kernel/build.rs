//! Records the compiler: cells must be compiled by the very rustc that built the toolkit.

fn main() {
    println!("cargo::rerun-if-env-changed=RUSTC");
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = std::process::Command::new(rustc).arg("--version").output().expect("cargo names a rustc that runs");
    println!("cargo::rustc-env=CHANDLERY_RUSTC={}", String::from_utf8_lossy(&version.stdout).trim());
}

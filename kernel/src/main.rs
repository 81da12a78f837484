//! The `chandlery` command.
fn main() {}

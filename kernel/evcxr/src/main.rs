//! The process that holds evcxr.
fn main() {
    evcxr::runtime_hook();
}

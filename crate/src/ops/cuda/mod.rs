//! What runs on a GPU: the driver's libraries, found when the first GPU is opened, and the kernels of the operators.
//! Without the `cuda` feature nothing of it is compiled.
#![cfg(feature = "cuda")]

pub(crate) mod driver;

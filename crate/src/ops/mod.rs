//! Differentiable fused operators: forward and backward in one pass over memory, on CPU and CUDA.

pub(crate) mod cuda;
mod implementation;

pub use implementation::AttentionImplementation;

//! Differentiable fused operators: forward and backward in one pass over memory, on CPU and CUDA.

mod implementation;

pub use implementation::AttentionImplementation;

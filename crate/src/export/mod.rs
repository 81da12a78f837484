//! A model as sources that a colleague would have written by hand: Python for transformers, Rust for candle.

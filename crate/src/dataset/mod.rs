//! Real text for `model test`: files read as data frames, tokenised, packed and collated into batches.

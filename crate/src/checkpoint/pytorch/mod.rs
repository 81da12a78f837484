//! PyTorch's `.bin` files: a zip of storages, and a pickle that says which tensors they hold.

mod legacy;
pub(super) mod pickle;
pub(super) mod pickle_write;
pub(super) mod unpickle;
pub(super) mod zip_file;

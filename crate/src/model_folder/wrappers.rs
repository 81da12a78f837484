//! Names with what a wrapper put around the model when it was saved, or without the module that its family has around it.

use super::text_model::EMBEDDING;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::naming::Family;
use crate::spec::parts::head::HEAD;
use crate::spec::{Naming, ParamPath};

/// Modules that `torch.compile`, FSDP and activation checkpointing put around others, wherever they stand in a name.
const INSERTED: &[&str] = &["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];

/// Modules that a model is an attribute of: of DDP, of a trainer's own module, of a model for images and text.
const AROUND: &[&str] = &["module", "model", "language_model", "text_model", "llm", "base_model", "network", "net"];

/// Returns the checkpoint with the names that its family has, if they differ only by wrappers; its notes say so.
///
/// # Errors
/// [`CheckpointError`] if two tensors get the same name.
pub(super) fn unwrapped(
    checkpoint: Checkpoint,
    naming: Naming,
    family: &Family,
    is_part: bool,
) -> Result<Checkpoint, CheckpointError> {
    let mut checkpoint = without_inserted(checkpoint)?;
    let embedding = match naming {
        Naming::HuggingFace => family.name_on(naming, &EMBEDDING.into()),
        Naming::Native => EMBEDDING.into(),
    };
    // The text model among others has a place of its own.
    let Some((base, rest)) = embedding.as_str().split_once('.').filter(|(_, rest)| !is_part && rest.contains('.'))
    else {
        return Ok(checkpoint);
    };
    let names: Vec<&ParamPath> = checkpoint.table().rows().iter().map(|row| &row.path).collect();
    let known = |name: &ParamPath| {
        *name == embedding || naming == Naming::HuggingFace && family.canonical_name(name).as_ref() == Some(&embedding)
    };
    if names.iter().any(|name| known(name)) {
        return Ok(checkpoint);
    }
    let found: Vec<&str> = names.iter().filter_map(|name| before(name.as_str(), rest)).collect();
    let &[around] = found.as_slice() else { return Ok(checkpoint) };
    let inner = format!("{base}.");
    let outer = around.strip_suffix(&inner).unwrap_or(around).to_owned();
    if !outer.split('.').all(|module| module.is_empty() || AROUND.contains(&module)) {
        return Ok(checkpoint);
    }
    let head = family.name_on(naming, &HEAD.into());
    let head = head.as_str().split('.').next().unwrap_or_default().to_owned();
    let lacks_base = !around.ends_with(&inner);
    checkpoint = checkpoint.renamed(|name| {
        let rest = name.as_str().strip_prefix(&outer).unwrap_or(name.as_str());
        let own = !lacks_base || rest.split('.').next() == Some(&head);
        Some(if own { rest.into() } else { format!("{inner}{rest}").as_str().into() })
    })?;
    if !outer.is_empty() {
        checkpoint.note(format!("the names of its tensors begin with `{outer}`, which is not part of the model"));
    }
    if lacks_base {
        checkpoint
            .note(format!("the names of its tensors lack `{inner}`: they were saved from the model without its head"));
    }
    Ok(checkpoint)
}

/// Returns what stands before the last modules of a name.
fn before<'a>(name: &'a str, rest: &str) -> Option<&'a str> {
    name.strip_suffix(rest).filter(|before| before.is_empty() || before.ends_with('.'))
}

/// Takes out the modules that were put around others.
fn without_inserted(checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
    let inserted =
        |name: &ParamPath| name.segments().find_map(|module| INSERTED.iter().find(|known| **known == module));
    let Some(module) = checkpoint.table().rows().iter().find_map(|row| inserted(&row.path)) else {
        return Ok(checkpoint);
    };
    let mut checkpoint = checkpoint.renamed(|name| {
        let own: Vec<&str> = name.segments().filter(|module| !INSERTED.contains(module)).collect();
        Some(own.join(".").as_str().into())
    })?;
    checkpoint.note(format!("the names of its tensors hold `{module}`, which a wrapper put there"));
    Ok(checkpoint)
}

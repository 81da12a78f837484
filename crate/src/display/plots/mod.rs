//! Charts that zoom, and pictures of them.

pub(super) mod curve;
pub(super) mod fonts;
pub(super) mod heat_map;
pub(super) mod loss_curve;
pub(super) mod picture;
pub(super) mod vega;

//! Replayed messages: a message whose signature was seen before is ignored.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// How many signatures are remembered, as in jupyter_client.
const REMEMBERED: usize = 1 << 16;

/// The recent signatures, on all sockets of one kernel.
#[derive(Clone, Default)]
pub(super) struct Replays(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    signatures: HashSet<Vec<u8>>,
    order: VecDeque<Vec<u8>>,
}

impl Replays {
    /// Records a signature, and returns whether it is new.
    pub(super) fn is_new(&self, signature: Vec<u8>) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.signatures.insert(signature.clone()) {
            return false;
        }
        seen.order.push_back(signature);
        if seen.order.len() > REMEMBERED
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.signatures.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_new_once_and_the_oldest_are_forgotten() {
        let replays = Replays::default();
        let signature = |n: usize| n.to_le_bytes().to_vec();
        assert!(replays.is_new(signature(0)) && !replays.is_new(signature(0)));
        assert!((1..=REMEMBERED).all(|n| replays.is_new(signature(n))));
        assert!(!replays.is_new(signature(1)));
        assert!(replays.is_new(signature(0)), "remembering all would never end");
    }
}

//! Packs documents into blocks of one length.

use std::collections::BTreeSet;

use super::declaration::Packing;

/// Token ids of one row of a batch, before padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// At most a block length of tokens.
    pub input_ids: Vec<u32>,
    /// Where each document starts; the first at 0, also where it continues one from the block before. `None` if the
    /// block is one document.
    pub document_starts: Option<Vec<u32>>,
    /// Places whose tokens are given and not learned, such as what a user says in a chat.
    pub context: Vec<u32>,
}

/// The blocks of some documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// In order.
    pub blocks: Vec<Block>,
    /// Tokens that are in no block: with [`Packing::None`], the ends of long documents. The other strategies lose none.
    pub cut: usize,
}

/// Packs documents into blocks of at most `length` tokens; empty documents vanish.
///
/// ```
/// use chandlery::dataset::{Packing, pack};
/// let packed = pack(&[vec![1; 3], vec![2; 2], vec![3; 4]], Packing::Greedy, 9);
/// assert_eq!(packed.blocks[0].document_starts, Some(vec![0, 3, 5]));
/// ```
pub fn pack(documents: &[Vec<u32>], packing: Packing, length: usize) -> Packed {
    let length = length.max(1);
    match packing {
        Packing::None => truncated(documents, length),
        Packing::Greedy => Packed { blocks: greedy(documents, length), cut: 0 },
        Packing::FirstFit => Packed { blocks: fitted(documents, length, FirstRoom::new()), cut: 0 },
        Packing::BestFit => Packed { blocks: fitted(documents, length, LeastRoom::default()), cut: 0 },
    }
}

fn truncated(documents: &[Vec<u32>], length: usize) -> Packed {
    let block = |ids: &Vec<u32>| Block {
        input_ids: ids[..ids.len().min(length)].to_vec(),
        document_starts: None,
        context: Vec::new(),
    };
    Packed {
        blocks: documents.iter().filter(|ids| !ids.is_empty()).map(block).collect(),
        cut: documents.iter().map(|ids| ids.len().saturating_sub(length)).sum(),
    }
}

fn greedy(documents: &[Vec<u32>], length: usize) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for document in documents {
        let mut rest = document.as_slice();
        while !rest.is_empty() {
            let room = blocks.last().map_or(0, |block| length - block.input_ids.len());
            if room == 0 {
                blocks.push(Block {
                    input_ids: Vec::with_capacity(length),
                    document_starts: Some(Vec::new()),
                    context: Vec::new(),
                });
                continue;
            }
            let (head, tail) = rest.split_at(room.min(rest.len()));
            if let Some(block) = blocks.last_mut() {
                append(block, head);
            }
            rest = tail;
        }
    }
    blocks
}

fn append(block: &mut Block, piece: &[u32]) {
    if let Some(starts) = &mut block.document_starts {
        starts.push(block.input_ids.len() as u32);
    }
    block.input_ids.extend_from_slice(piece);
}

/// Finds the block that a piece goes into.
trait Room {
    /// Returns a block with at least `need` free tokens.
    fn find(&mut self, need: usize) -> Option<usize>;
    /// Block `index` now has `free` tokens.
    fn set(&mut self, index: usize, before: usize, free: usize);
}

fn fitted(documents: &[Vec<u32>], length: usize, mut room: impl Room) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for piece in documents.iter().flat_map(|document| document.chunks(length)) {
        let index = room.find(piece.len()).unwrap_or_else(|| {
            blocks.push(Block { input_ids: Vec::new(), document_starts: Some(Vec::new()), context: Vec::new() });
            room.set(blocks.len() - 1, 0, length);
            blocks.len() - 1
        });
        let before = length - blocks[index].input_ids.len();
        append(&mut blocks[index], piece);
        room.set(index, before, before - piece.len());
    }
    blocks
}

/// Best fit: blocks ordered by the room they have left.
#[derive(Default)]
struct LeastRoom(BTreeSet<(usize, usize)>);

impl Room for LeastRoom {
    fn find(&mut self, need: usize) -> Option<usize> {
        self.0.range((need, 0)..).next().map(|&(_, index)| index)
    }

    fn set(&mut self, index: usize, before: usize, free: usize) {
        self.0.remove(&(before, index));
        if free > 0 {
            self.0.insert((free, index));
        }
    }
}

/// First fit: a binary tree over the blocks whose nodes hold the most room below them, so that a search takes
/// logarithmic time however many blocks there are.
struct FirstRoom {
    leaves: usize,
    most: Vec<usize>,
}

impl FirstRoom {
    fn new() -> Self {
        Self { leaves: 1, most: vec![0; 2] }
    }

    fn grow(&mut self) {
        let old = std::mem::replace(self, Self { leaves: self.leaves * 2, most: vec![0; self.leaves * 4] });
        for index in 0..old.leaves {
            self.put(index, old.most[old.leaves + index]);
        }
    }

    fn put(&mut self, index: usize, free: usize) {
        let mut node = self.leaves + index;
        self.most[node] = free;
        while node > 1 {
            node /= 2;
            self.most[node] = self.most[2 * node].max(self.most[2 * node + 1]);
        }
    }
}

impl Room for FirstRoom {
    fn find(&mut self, need: usize) -> Option<usize> {
        if self.most[1] < need {
            return None;
        }
        let mut node = 1;
        while node < self.leaves {
            node = if self.most[2 * node] >= need { 2 * node } else { 2 * node + 1 };
        }
        Some(node - self.leaves)
    }

    fn set(&mut self, index: usize, _before: usize, free: usize) {
        while index >= self.leaves {
            self.grow();
        }
        self.put(index, free);
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    const ALL: [Packing; 4] = [Packing::None, Packing::Greedy, Packing::FirstFit, Packing::BestFit];

    fn documents(lengths: &[usize]) -> Vec<Vec<u32>> {
        let mut next = 0;
        let mut fresh = || {
            next += 1;
            next
        };
        lengths.iter().map(|&length| (0..length).map(|_| fresh()).collect()).collect()
    }

    /// Tokens of each block, and its starts.
    fn shape(lengths: &[usize], packing: Packing, length: usize) -> Vec<(usize, Vec<u32>)> {
        let blocks = pack(&documents(lengths), packing, length).blocks;
        blocks.into_iter().map(|block| (block.input_ids.len(), block.document_starts.unwrap_or_default())).collect()
    }

    #[test]
    fn starts_are_where_documents_begin() {
        for packing in [Packing::Greedy, Packing::FirstFit, Packing::BestFit] {
            assert_eq!(shape(&[3, 2, 4], packing, 16), [(9, vec![0, 3, 5])], "{packing}");
        }
    }

    #[test]
    fn greedy_cuts_documents_where_a_block_ends() {
        assert_eq!(shape(&[3, 6, 1], Packing::Greedy, 4), [(4, vec![0, 3]), (4, vec![0]), (2, vec![0, 1])]);
    }

    #[test]
    fn first_fit_takes_the_first_room_and_best_fit_the_tightest() {
        // Rooms after 6, 8: 4 and 2. The 2 goes to the first with room, or to the one it fills.
        assert_eq!(shape(&[6, 8, 2], Packing::FirstFit, 10), [(8, vec![0, 6]), (8, vec![0])]);
        assert_eq!(shape(&[6, 8, 2], Packing::BestFit, 10), [(6, vec![0]), (10, vec![0, 8])]);
    }

    #[test]
    fn packing_keeps_every_token_and_blocks_fit() {
        let mut random = crate::model::random_stream(7, "packing");
        for case in 0..200 {
            let length = random.random_range(1..20);
            let lengths: Vec<usize> =
                (0..random.random_range(0..40)).map(|_| random.random_range(0..3 * length)).collect();
            let documents = documents(&lengths);
            let total: usize = lengths.iter().sum();
            for packing in ALL {
                let Packed { blocks, cut } = pack(&documents, packing, length);
                let at = format!("case {case}, {packing}, {lengths:?} into {length}");
                let mut tokens: Vec<u32> = blocks.iter().flat_map(|block| block.input_ids.clone()).collect();
                assert_eq!(tokens.len() + cut, total, "{at}");
                assert!(cut == 0 || packing == Packing::None, "{at}");
                tokens.sort_unstable();
                tokens.dedup();
                assert_eq!(tokens.len() + cut, total, "a token twice: {at}");
                for block in &blocks {
                    assert!((1..=length).contains(&block.input_ids.len()), "{at}");
                    let Some(starts) = &block.document_starts else { continue };
                    assert!(starts[0] == 0 && starts.is_sorted_by(|a, b| a < b), "{at}");
                    assert!((*starts.last().unwrap() as usize) < block.input_ids.len(), "{at}");
                    // Ids count up inside a document, so a step that is not one is a start.
                    for (place, pair) in block.input_ids.windows(2).enumerate() {
                        assert!(pair[1] == pair[0] + 1 || starts.contains(&(place as u32 + 1)), "{at}");
                    }
                }
            }
        }
    }

    #[test]
    fn only_documents_longer_than_a_block_are_split_when_fitting() {
        for packing in [Packing::FirstFit, Packing::BestFit] {
            let packed = pack(&documents(&[5, 4, 12, 3, 5, 1]), packing, 8);
            let pieces: usize =
                packed.blocks.iter().filter_map(|block| Some(block.document_starts.as_ref()?.len())).sum();
            assert_eq!(pieces, 7, "{packing}: six documents, one of them in two pieces");
        }
    }
}

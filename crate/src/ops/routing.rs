//! Which experts a token uses, and the tokens of each expert next to each other.

use std::cmp::Ordering;

use candle_core::{Result, Tensor};

use crate::spec::GroupScore;

/// How experts are chosen by their scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How many.
    pub active: usize,
    /// Groups of consecutive experts.
    pub groups: usize,
    /// Groups that the experts of a token may be of.
    pub active_groups: usize,
    /// What makes the score of a group.
    pub group_by: GroupScore,
}

/// Returns the experts with the highest scores of each row, `active` each, the best first; of equal ones the first.
pub fn choose(scores: &[Vec<f32>], choice: &Choice) -> Vec<u32> {
    let mut chosen = Vec::with_capacity(scores.len() * choice.active);
    for row in scores {
        let size = (row.len() / choice.groups.max(1)).max(1);
        let allowed: Vec<bool> = match choice.groups > 1 {
            true => {
                let of = |group: &[f32]| {
                    let best = best_of(group.iter().copied().enumerate(), 2);
                    match choice.group_by {
                        GroupScore::Max => best.first().map_or(f32::NEG_INFINITY, |(_, score)| *score),
                        GroupScore::TopTwo => best.iter().map(|(_, score)| score).sum(),
                    }
                };
                let best = best_of(row.chunks(size).map(of).enumerate(), choice.active_groups);
                (0..row.len()).map(|expert| best.iter().any(|(group, _)| *group == expert / size)).collect()
            }
            false => vec![true; row.len()],
        };
        let candidates = row.iter().copied().enumerate().filter(|(expert, _)| allowed[*expert]);
        chosen.extend(best_of(candidates, choice.active).into_iter().map(|(expert, _)| expert as u32));
    }
    chosen
}

/// Returns the largest of some numbers; NaN comes last, so that there are always as many.
fn best_of(scores: impl Iterator<Item = (usize, f32)>, count: usize) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = scores.collect();
    let better = |a: &(usize, f32), b: &(usize, f32)| {
        let order = match (a.1.is_nan(), b.1.is_nan()) {
            (false, false) => b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal),
            (a, b) => a.cmp(&b),
        };
        order.then(a.0.cmp(&b.0))
    };
    if count < all.len() {
        all.select_nth_unstable_by(count, better);
        all.truncate(count);
    }
    all.sort_unstable_by(better);
    all
}

/// The uses of experts by tokens, use `i` being of token `i / active`, in the order of experts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    active: usize,
    /// The uses, those of the first expert first, and those of one expert in the order of tokens.
    pub order: Vec<u32>,
    /// How many uses each expert has.
    pub counts: Vec<usize>,
}

impl Grouping {
    /// Groups uses by their experts, of which there are `experts`.
    pub fn new(chosen: &[u32], active: usize, experts: usize) -> Self {
        let mut counts = vec![0; experts];
        chosen.iter().for_each(|&expert| counts[expert as usize] += 1);
        let mut next: Vec<usize> = counts
            .iter()
            .scan(0, |first, count| {
                let start = *first;
                *first += count;
                Some(start)
            })
            .collect();
        let mut order = vec![0; chosen.len()];
        for (place, &expert) in chosen.iter().enumerate() {
            let slot = &mut next[expert as usize];
            order[*slot] = place as u32;
            *slot += 1;
        }
        Self { active: active.max(1), order, counts }
    }

    /// Returns the token of each use.
    pub fn tokens(&self) -> Vec<u32> {
        self.order.iter().map(|place| place / self.active as u32).collect()
    }

    /// Returns where each use stands in the order of experts.
    pub fn inverse(&self) -> Vec<u32> {
        let mut inverse = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(slot, &place)| inverse[place as usize] = slot as u32);
        inverse
    }

    /// Returns the experts that have a use.
    pub fn used(&self) -> impl Iterator<Item = usize> + use<'_> {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(expert, _)| expert)
    }

    /// Returns how many uses these have.
    pub fn sizes(&self) -> Vec<usize> {
        self.used().map(|expert| self.counts[expert]).collect()
    }
}

/// Cuts x `[rows, …]` into parts of these numbers of rows.
///
/// Halves are cut in halves, because candle's backward makes a gradient of the whole's size for each part that is cut.
///
/// # Errors
/// candle's error, if there are fewer rows.
pub fn split_rows(x: &Tensor, sizes: &[usize]) -> Result<Vec<Tensor>> {
    if sizes.len() < 2 {
        return Ok(sizes.iter().map(|_| x.clone()).collect());
    }
    let (left, right) = sizes.split_at(sizes.len() / 2);
    let (first, second): (usize, usize) = (left.iter().sum(), right.iter().sum());
    let mut parts = split_rows(&x.narrow(0, 0, first)?, left)?;
    parts.extend(split_rows(&x.narrow(0, first, second)?, right)?);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_experts_are_chosen_and_ties_go_to_the_first() {
        let choice = Choice { active: 2, groups: 1, active_groups: 1, group_by: GroupScore::Max };
        assert_eq!(choose(&[vec![0.1, 0.4, 0.4, 0.1], vec![0.0, 1.0, 2.0, 3.0]], &choice), [1, 2, 3, 2]);
        assert_eq!(choose(&[vec![f32::NAN, 1.0, f32::NAN]], &choice), [1, 0]);
    }

    #[test]
    fn experts_of_the_best_groups_are_chosen_only() {
        let scores = [vec![0.9, 0.0, 0.5, 0.5, 0.1, 0.2]];
        let choice = |group_by| Choice { active: 2, groups: 3, active_groups: 1, group_by };
        assert_eq!(choose(&scores, &choice(GroupScore::Max)), [0, 1]);
        assert_eq!(choose(&scores, &choice(GroupScore::TopTwo)), [2, 3]);
    }

    #[test]
    fn uses_are_grouped_by_expert_and_come_back() {
        let grouping = Grouping::new(&[2, 0, 0, 3, 2, 3], 2, 5);
        assert_eq!(grouping.order, [1, 2, 0, 4, 3, 5]);
        assert_eq!(grouping.tokens(), [0, 1, 0, 2, 1, 2]);
        assert_eq!((grouping.used().collect::<Vec<_>>(), grouping.sizes()), (vec![0, 2, 3], vec![2, 2, 2]));
        let inverse = grouping.inverse();
        assert!(grouping.order.iter().enumerate().all(|(slot, place)| inverse[*place as usize] as usize == slot));
    }

    #[test]
    fn parts_of_rows_are_cut_in_order() {
        let x = Tensor::arange(0u32, 7, &candle_core::Device::Cpu).unwrap();
        let parts = split_rows(&x, &[1, 3, 2, 1]).unwrap();
        let parts: Vec<Vec<u32>> = parts.iter().map(|part| part.to_vec1().unwrap()).collect();
        assert_eq!(parts, [vec![0], vec![1, 2, 3], vec![4, 5], vec![6]]);
    }
}

//! Which experts a token uses, and the tokens of each expert next to each other.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

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

/// Returns the experts with the highest scores of each row of scores `[tokens, experts]`, `active` each, the best first; of equal
/// ones the first.
pub fn choose(scores: &[f32], experts: usize, choice: &Choice) -> Vec<u32> {
    let (experts, active) = (experts.max(1), choice.active.min(experts));
    if active == 0 {
        return Vec::new();
    }
    let mut chosen = vec![0; scores.len() / experts * active];
    let rows = chosen.par_chunks_mut(active).zip(scores.par_chunks(experts)).with_min_len(256);
    rows.for_each_init(Vec::new, |best, (chosen, row)| {
        if choice.groups > 1 {
            let allowed = allowed(row, choice);
            best_of(row.iter().copied().enumerate().filter(|(expert, _)| allowed[*expert]), active, best);
        } else {
            best_of(row.iter().copied().enumerate(), active, best);
        }
        chosen.iter_mut().zip(&*best).for_each(|(chosen, (expert, _))| *chosen = *expert as u32);
    });
    chosen
}

/// Returns which experts are of the best groups.
fn allowed(row: &[f32], choice: &Choice) -> Vec<bool> {
    let (size, mut best) = ((row.len() / choice.groups).max(1), Vec::new());
    let mut of = |group: &[f32]| {
        best_of(group.iter().copied().enumerate(), 2, &mut best);
        match choice.group_by {
            GroupScore::Max => best.first().map_or(f32::NEG_INFINITY, |(_, score)| *score),
            GroupScore::TopTwo => best.iter().map(|(_, score)| score).sum(),
        }
    };
    let groups: Vec<f32> = row.chunks(size).map(&mut of).collect();
    best_of(groups.into_iter().enumerate(), choice.active_groups, &mut best);
    (0..row.len()).map(|expert| best.iter().any(|(group, _)| *group == expert / size)).collect()
}

/// Leaves the largest of some numbers in `best`, the first of equal ones first; NaN comes last, so that there are always as many.
fn best_of(scores: impl Iterator<Item = (usize, f32)>, count: usize, best: &mut Vec<(usize, f32)>) {
    best.clear();
    let beats = |new: f32, old: f32| !new.is_nan() && (old.is_nan() || new > old);
    for (index, score) in scores {
        let place = best.iter().rposition(|(_, old)| !beats(score, *old)).map_or(0, |place| place + 1);
        if place < count {
            best.truncate(count - 1);
            best.insert(place, (index, score));
        }
    }
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
        assert_eq!(choose(&[0.1, 0.4, 0.4, 0.1, 0.0, 1.0, 2.0, 3.0], 4, &choice), [1, 2, 3, 2]);
        assert_eq!(choose(&[f32::NAN, 1.0, f32::NAN], 3, &choice), [1, 0]);
    }

    #[test]
    fn experts_of_the_best_groups_are_chosen_only() {
        let scores = [0.9, 0.0, 0.5, 0.5, 0.1, 0.2];
        let choice = |group_by| Choice { active: 2, groups: 3, active_groups: 1, group_by };
        assert_eq!(choose(&scores, 6, &choice(GroupScore::Max)), [0, 1]);
        assert_eq!(choose(&scores, 6, &choice(GroupScore::TopTwo)), [2, 3]);
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

//! Which positions of a group are trained on: in turn, or the more often the more is at stake there.

use super::{
    TrainParams,
    replay::{Position, Replayed},
    samples::generator,
    stream::Group,
};
use lsn_stage::StageResult;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Shares of the positions that are drawn, with repetition, in proportion to something; the others are taken in turn.
///
/// Most positions of a confident model have nothing to cut, and so nothing to teach; and a network that is trained on little but
/// cuts comes to cut what it has not seen kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Emphasis {
    /// In proportion to what their heuristic changes: the KL divergence of the raw logits from the target.
    pub effect: f64,
    /// In proportion to what it could change: the entropy of the raw logits.
    pub entropy: f64,
}

/// What the emphasis of a position goes by, in nats.
#[derive(Debug, Clone, Copy)]
pub struct Stake {
    pub effect: f64,
    pub entropy: f64,
}

impl Emphasis {
    /// What cannot be a share.
    pub fn issue(&self) -> Option<String> {
        let Self { effect, entropy } = *self;
        let shares = [effect, entropy, effect + entropy];
        let wrong = shares.iter().any(|share| !(0.0..=1.0).contains(share));
        wrong.then(|| {
            format!("is {effect} by effect and {entropy} by entropy, expected shares that sum up to at most 1")
        })
    }

    /// For each position its chance of being drawn wherever one is, summed up from the first position on.
    fn cumulative(&self, stakes: &[Stake]) -> Vec<f64> {
        let whole = |of: fn(&Stake) -> f64| stakes.iter().map(|stake| of(stake).max(0.0)).sum::<f64>();
        let per_nat = |share: f64, whole: f64| if whole > 0.0 { share / whole } else { 0.0 };
        let by_effect = per_nat(self.effect, whole(|stake| stake.effect));
        let by_entropy = per_nat(self.entropy, whole(|stake| stake.entropy));
        let chance = |stake: &Stake| by_effect * stake.effect.max(0.0) + by_entropy * stake.entropy.max(0.0);
        stakes
            .iter()
            .scan(0.0, |sum, stake| {
                *sum += chance(stake);
                Some(*sum)
            })
            .collect()
    }

    fn choose(&self, positions: &[Position], stakes: &[Stake], rng: &mut impl Rng) -> Vec<Position> {
        let cumulative = self.cumulative(stakes);
        let choose = |&own: &Position| {
            let at = rng.random::<f64>();
            positions.get(cumulative.partition_point(|sum| *sum <= at)).copied().unwrap_or(own)
        };
        positions.iter().map(choose).collect()
    }
}

/// As many positions as the group has, in the order in which they are trained on: a function of the group and the parameters.
pub fn draw(params: &TrainParams, group: &Group, replayed: &Replayed) -> StageResult<Vec<Position>> {
    if params.emphasis == Emphasis::default() {
        return Ok(group.positions.clone());
    }
    let stakes = replayed.stakes(&group.positions)?;
    let mut rng = generator(params.seed, "emphasis", &group.place);
    Ok(params.emphasis.choose(&group.positions, &stakes, &mut rng))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_drawn_in_proportion_to_effect_and_entropy() {
        let positions: Vec<Position> = (0..8000).map(|index| Position { row: 0, index }).collect();
        let stake = |index: u32| Stake { effect: f64::from(index % 4), entropy: f64::from(index / 4 % 2) };
        let stakes: Vec<Stake> = (0..8000).map(stake).collect();
        let mut rng = generator(1, "test", &[]);
        let drawn = Emphasis { effect: 0.5, entropy: 0.2 }.choose(&positions, &stakes, &mut rng);
        let mut counts = [0.0; 8];
        drawn.iter().for_each(|position| counts[position.index as usize % 8] += 1.0 / 8000.0);
        for (kind, count) in (0..).zip(counts) {
            let Stake { effect, entropy } = stake(kind);
            let expected = 0.3 / 8.0 + 0.5 * effect / 12.0 + 0.2 * entropy / 4.0;
            assert!((count - expected).abs() < 0.02, "{kind}: {count} {expected}");
        }
        let nothing = vec![Stake { effect: 0.0, entropy: -1e-17 }; 8000];
        let all = Emphasis { effect: 0.6, entropy: 0.4 };
        assert_eq!(all.choose(&positions, &nothing, &mut rng), positions, "nothing to emphasise");
        assert_eq!(Emphasis::default().choose(&positions, &stakes, &mut rng), positions);
        assert!(all.choose(&positions, &stakes, &mut rng).iter().all(|drawn| drawn.index % 8 != 0));
    }

    #[test]
    fn shares_sum_up_to_at_most_one() {
        let issue = |effect, entropy| Emphasis { effect, entropy }.issue();
        assert!(issue(0.4, 0.6).is_none() && issue(0.0, 0.0).is_none());
        for (effect, entropy) in [(0.6, 0.6), (-0.1, 0.5), (0.5, f64::NAN)] {
            assert!(issue(effect, entropy).unwrap().contains("at most 1"), "{effect} {entropy}");
        }
    }
}

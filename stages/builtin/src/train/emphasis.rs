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
/// Most positions of a confident model have nothing to cut, and so nothing to teach; a network that is trained on little but cuts
/// comes to cut what it has not seen kept; and what it does wrongly at few and rare positions it unlearns only if they come up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Emphasis {
    /// In proportion to what their heuristic changes: the KL divergence of the raw logits from the target.
    pub effect: f64,
    /// In proportion to what it could change: the entropy of the raw logits.
    pub entropy: f64,
    /// In proportion to what the network gets wrong when the rows that are mixed with each other come up: its KL divergence from
    /// the target. Costs a forward pass for each of their positions, on the processor.
    pub loss: f64,
}

/// What the emphasis of a position goes by, in nats.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stake {
    pub effect: f64,
    pub entropy: f64,
    pub loss: f64,
}

/// The positions of a group as they were drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    pub place: [u64; 2],
    pub positions: Vec<Position>,
}

impl Emphasis {
    fn shares(&self) -> [f64; 3] {
        [self.effect, self.entropy, self.loss]
    }

    /// What cannot be a share.
    pub fn issue(&self) -> Option<String> {
        let sum: f64 = self.shares().iter().sum();
        let wrong =
            !(0.0..=1.0 + 1e-9).contains(&sum) || self.shares().iter().any(|share| !(0.0..=1.0).contains(share));
        wrong.then(|| {
            format!("has shares that sum up to {sum}, expected shares of at least 0, and of at most 1 together")
        })
    }

    /// For each position its chance of being drawn wherever one is, summed up from the first position on.
    fn cumulative(&self, stakes: &[Stake]) -> Vec<f64> {
        let nats = |stake: &Stake| [stake.effect, stake.entropy, stake.loss].map(|nats| nats.max(0.0));
        let mut whole = [0.0; 3];
        stakes.iter().for_each(|stake| whole.iter_mut().zip(nats(stake)).for_each(|(whole, nats)| *whole += nats));
        let mut per_nat = self.shares();
        per_nat
            .iter_mut()
            .zip(whole)
            .for_each(|(share, whole)| *share = if whole > 0.0 { *share / whole } else { 0.0 });
        stakes
            .iter()
            .scan(0.0, |sum, stake| {
                *sum += per_nat.iter().zip(nats(stake)).map(|(per_nat, nats)| per_nat * nats).sum::<f64>();
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

/// What is at stake at the positions of a group, as far as no network is needed to tell and the parameters ask for it.
pub fn stakes(params: &TrainParams, group: &Group, replayed: &Replayed) -> StageResult<Vec<Stake>> {
    let Emphasis { effect, entropy, .. } = params.emphasis;
    if effect + entropy > 0.0 {
        replayed.stakes(&group.positions)
    } else {
        Ok(vec![Stake::default(); group.positions.len()])
    }
}

/// As many positions as the group has, in the order in which they are trained on: a function of the group, the parameters and what
/// is at stake.
pub fn draw(params: &TrainParams, group: &Group, stakes: &[Stake]) -> Vec<Position> {
    let mut rng = generator(params.seed, "emphasis", &group.place);
    params.emphasis.choose(&group.positions, stakes, &mut rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_drawn_in_proportion_to_what_is_at_stake() {
        let positions: Vec<Position> = (0..8000).map(|index| Position { row: 0, index }).collect();
        let stake = |index: u32| Stake {
            effect: f64::from(index % 4),
            entropy: f64::from(index / 4 % 2),
            loss: f64::from(u8::from(index % 8 == 3)),
        };
        let stakes: Vec<Stake> = (0..8000).map(stake).collect();
        let mut rng = generator(1, "test", &[]);
        let drawn = Emphasis { effect: 0.4, entropy: 0.2, loss: 0.1 }.choose(&positions, &stakes, &mut rng);
        let mut counts = [0.0; 8];
        drawn.iter().for_each(|position| counts[position.index as usize % 8] += 1.0 / 8000.0);
        for (kind, count) in (0..).zip(counts) {
            let Stake { effect, entropy, loss } = stake(kind);
            let expected = 0.3 / 8.0 + 0.4 * effect / 12.0 + 0.2 * entropy / 4.0 + 0.1 * loss;
            assert!((count - expected).abs() < 0.02, "{kind}: {count} {expected}");
        }
        let nothing = vec![Stake { entropy: -1e-17, ..Stake::default() }; 8000];
        let all = Emphasis { effect: 0.6, entropy: 0.4, loss: 0.0 };
        assert_eq!(all.choose(&positions, &nothing, &mut rng), positions, "nothing to emphasise");
        assert_eq!(Emphasis::default().choose(&positions, &stakes, &mut rng), positions);
        assert!(all.choose(&positions, &stakes, &mut rng).iter().all(|drawn| drawn.index % 8 != 0));
    }

    #[test]
    fn shares_sum_up_to_at_most_one() {
        let issue = |effect, entropy, loss| Emphasis { effect, entropy, loss }.issue();
        assert!(issue(0.5, 0.2, 0.3).is_none() && issue(0.0, 0.0, 0.0).is_none());
        for (effect, entropy, loss) in [(0.6, 0.6, 0.0), (-0.1, 0.5, 0.1), (0.5, f64::NAN, 0.0)] {
            assert!(issue(effect, entropy, loss).unwrap().contains("at most 1"), "{effect} {entropy} {loss}");
        }
    }
}

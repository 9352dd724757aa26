//! Which positions of a group are trained on: in turn, or the more often the more their heuristic changes.

use super::{
    TrainParams,
    replay::{Position, Replayed},
    samples::generator,
    stream::Group,
};
use lsn_stage::StageResult;
use rand::Rng;

/// As many positions as the group has, in the order in which they are trained on: a function of the group and the parameters.
pub fn draw(params: &TrainParams, group: &Group, replayed: &Replayed) -> StageResult<Vec<Position>> {
    if params.emphasis == 0.0 {
        return Ok(group.positions.clone());
    }
    let effects = replayed.effects(&group.positions)?;
    let mut rng = generator(params.seed, "emphasis", &group.place);
    Ok(emphasised(&group.positions, &effects, params.emphasis, &mut rng))
}

/// `share` of the positions drawn, with repetition, in proportion to their effects; the others as they stand.
fn emphasised(positions: &[Position], effects: &[f64], share: f64, rng: &mut impl Rng) -> Vec<Position> {
    let mut sum = 0.0;
    let sums: Vec<f64> = effects
        .iter()
        .map(|effect| {
            sum += effect.max(0.0);
            sum
        })
        .collect();
    let choose = |&own: &Position| {
        // Both numbers are drawn each time, so that a place's draw does not depend on the places before it.
        let (emphasise, at) = (rng.random::<f64>() < share, rng.random::<f64>() * sum);
        match positions.get(sums.partition_point(|sum| *sum <= at)) {
            Some(&drawn) if emphasise => drawn,
            _ => own,
        }
    };
    positions.iter().map(choose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_drawn_in_proportion_to_the_effects() {
        let positions: Vec<Position> = (0..4000).map(|index| Position { row: 0, index }).collect();
        let effects: Vec<f64> = (0..4000).map(|index| f64::from(index % 4)).collect();
        let mut rng = generator(1, "test", &[]);
        let drawn = emphasised(&positions, &effects, 0.6, &mut rng);
        let mut counts = [0.0; 4];
        drawn.iter().for_each(|position| counts[position.index as usize % 4] += 1.0 / 4000.0);
        for (kind, count) in counts.into_iter().enumerate() {
            let expected = 0.4 / 4.0 + 0.6 * kind as f64 / 6.0;
            assert!((count - expected).abs() < 0.03, "{kind}: {count} {expected}");
        }
        assert_eq!(emphasised(&positions, &vec![0.0; 4000], 1.0, &mut rng), positions, "nothing to emphasise");
        assert_eq!(emphasised(&positions, &effects, 0.0, &mut rng), positions);
    }
}

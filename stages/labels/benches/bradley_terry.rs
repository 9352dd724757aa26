//! Bradley–Terry ratings of 1000 players from 101,000 games. `benches/peers/evalica.py` fits the same games: both read
//! them from the generator below (a linear congruence), and no ratings are worth keeping.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../../benches/cpu_time/mod.rs"]
mod cpu_time;

use cpu_time::CpuTime;
use criterion::{Criterion, criterion_group, criterion_main};
use lsn_labels::quality::{BradleyTerry, FitOptions, Outcome, Prior};
use std::hint::black_box;

const PLAYERS: usize = 1000;
const GAMES: usize = 101_000;

/// Games of players whose strength falls with their number.
fn games() -> Vec<Outcome> {
    let mut state = 1_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut games = Vec::with_capacity(GAMES);
    while games.len() < GAMES {
        let (a, b) = (next(PLAYERS as u64) as usize, next(PLAYERS as u64) as usize);
        let luck = next(1 << 20) as f64 / f64::from(1 << 20);
        if a != b {
            let difference = (b as f64 - a as f64) * 0.004;
            let wins = luck < 1.0 / (1.0 + (-difference).exp());
            games.push(Outcome { a, b, a_share: f64::from(u8::from(wins)) });
        }
    }
    games
}

fn bradley_terry(criterion: &mut Criterion<CpuTime>) {
    let games = games();
    let mut group = criterion.benchmark_group("bradley_terry");
    group.sample_size(20);
    for (name, tolerance) in [("1000x101k_1e-6", 1e-6), ("1000x101k_1e-12", 1e-12)] {
        let options = FitOptions { prior: Prior::None, tolerance, standard_errors: false, ..FitOptions::default() };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let table = BradleyTerry::new(PLAYERS, games.iter().copied()).unwrap();
                black_box(table.fit(&options).unwrap())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = bradley_terry
}
criterion_main!(benches);

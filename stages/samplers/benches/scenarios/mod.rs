//! What is measured: rows as a step of generation or training sees them, grouping and targets included.

use lsn_heuristics::{History, Pipeline, ProcessorConfig, Scratch};
use lsn_samplers::{
    AdamWConfig, Architecture, Example, Grouping, LocalProbabilityTransform, LogitSet, OptimizerKind, RankedTransform,
    Sampler, SamplingNetwork, Schedule, ScheduleKind, SimpleDistributionAwareTransform, Statistic, Target, Trainer,
    TrainerConfig, Workspace,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub const VOCABULARY: usize = 128_256;

/// Name, network, rows, whether logits are those of a bf16 model, whether it trains.
pub const SCENARIOS: [Scenario; 12] = [
    Scenario::new("forward of 1 row, SamplingNetwork, bf16", Network::Attention(4), 1, true, false),
    Scenario::new("forward of 1 row, LocalProbabilityTransform, bf16", Network::Local, 1, true, false),
    Scenario::new("forward of 1 row, SimpleDistributionAwareTransform, bf16", Network::Aware, 1, true, false),
    Scenario::new("forward of 1 row, RankedTransform, bf16", Network::Ranked, 1, true, false),
    Scenario::new("training step of 12 rows, SamplingNetwork, bf16", Network::Attention(4), 12, true, true),
    Scenario::new("training step of 12 rows, RankedTransform, bf16", Network::Ranked, 12, true, true),
    Scenario::new("forward of 1 row, SamplingNetwork, f32 all distinct", Network::Attention(4), 1, false, false),
    Scenario::new("forward of 1 row, LocalProbabilityTransform, f32 all distinct", Network::Local, 1, false, false),
    Scenario::new("forward of 1 row, SamplingNetwork, f32 interpolated", Network::Attention(4), 1, false, false)
        .interpolated(),
    Scenario::new("forward of 1 row, LocalProbabilityTransform, f32 interpolated", Network::Local, 1, false, false)
        .interpolated(),
    Scenario::new("training step of 2 rows, SamplingNetwork, f32 all distinct", Network::Attention(4), 2, false, true),
    Scenario::new("training step of 2 rows, 8 blocks, f32 all distinct", Network::Attention(8), 2, false, true),
];

#[derive(Clone, Copy)]
enum Network {
    Local,
    Aware,
    /// So many blocks of 32 features.
    Attention(usize),
    Ranked,
}

#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    network: Network,
    rows: usize,
    bf16: bool,
    train: bool,
    interpolated: bool,
}

/// Roughly normal logits of spread 3; `bf16` cuts them to 8 significant bits: about 2500 distinct ones.
fn logits(bf16: bool, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let normal = |rng: &mut ChaCha8Rng| (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
    (0..VOCABULARY)
        .map(|_| {
            let logit = 3.0 * normal(&mut rng);
            if bf16 { f32::from_bits(logit.to_bits() & 0xffff_0000) } else { logit }
        })
        .collect()
}

fn architecture(network: Network) -> Architecture {
    match network {
        Network::Local => Architecture::LocalProbabilityTransform(LocalProbabilityTransform { hidden_dims: 32 }),
        Network::Aware => Architecture::SimpleDistributionAwareTransform(SimpleDistributionAwareTransform {
            hidden_dims: 32,
            use_dynamic_truncation: true,
            statistics: vec![Statistic::MaxLogProb, Statistic::Entropy],
        }),
        Network::Attention(n_blocks) => {
            Architecture::SamplingNetwork(SamplingNetwork { d_model: 32, d_ff: 64, n_blocks, n_heads: 4, scale: true })
        }
        Network::Ranked => Architecture::RankedTransform(RankedTransform { hidden_dims: 48 }),
    }
}

/// A row and what min-p makes of it.
pub fn raw_and_target(bf16: bool) -> (Vec<f32>, Vec<f32>) {
    let raw = logits(bf16, 0);
    let mut target = raw.clone();
    let pipeline = min_p();
    pipeline.process(&mut target, History::default(), &mut pipeline.start(0), &mut Scratch::default()).unwrap();
    (raw, target)
}

fn min_p() -> Pipeline {
    let params = [("min_p".to_owned(), 0.02.into())].into_iter().collect();
    Pipeline::from_config(&[ProcessorConfig { name: "min_p".to_owned(), params }]).unwrap()
}

impl Scenario {
    const fn new(name: &'static str, network: Network, rows: usize, bf16: bool, train: bool) -> Self {
        Self { name, network, rows, bf16, train, interpolated: false }
    }

    const fn interpolated(self) -> Self {
        Self { interpolated: true, ..self }
    }

    /// One step, to be called again and again; everything that a real step does not do is done before.
    pub fn prepare(self) -> Box<dyn FnMut()> {
        let rows: Vec<Vec<f32>> = (0..self.rows as u64).map(|seed| logits(self.bf16, seed)).collect();
        let sampler = Sampler::<f32>::new(architecture(self.network), 0).unwrap();
        if !self.train {
            let (mut workspace, mut row) = (Workspace::default(), rows[0].clone());
            return Box::new(move || {
                row.copy_from_slice(&rows[0]);
                if self.interpolated {
                    sampler.apply_interpolated(&mut row, &mut workspace).unwrap();
                } else {
                    sampler.apply(&mut row, &mut workspace).unwrap();
                }
            });
        }
        let config = TrainerConfig {
            optimizer: OptimizerKind::Adamw,
            adamw: AdamWConfig::default(),
            schedule: Schedule { kind: ScheduleKind::Constant, lr: 1e-3, warmup_steps: 0, total_steps: 1000 },
            gamma: 1.0,
            max_grad_norm: Some(1.0),
        };
        let mut trainer = Trainer::new(sampler, config).unwrap();
        let (pipeline, mut scratch, mut target) = (min_p(), Scratch::default(), Vec::new());
        Box::new(move || {
            let example = |row: &Vec<f32>| {
                target.clone_from(row);
                pipeline.process(&mut target, History::default(), &mut pipeline.start(0), &mut scratch).unwrap();
                let set = LogitSet::new(row, Grouping::Automatic).unwrap();
                let target = Target::new(&set, &target).unwrap();
                Example { set, target }
            };
            let batch = rows.iter().map(example).collect();
            trainer.step(&[batch]).unwrap();
        })
    }
}

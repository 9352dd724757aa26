//! How much of a heuristic a network learns: the share of the raw-to-target KL that is gone on held-out rows after training.
//!
//! `cargo run --release -p lsn-samplers --example fidelity -- [key=value ..]`, by default `architecture=RankedTransform`,
//! `settings=table`, synthetic rows of 4,096 bf16 logits and the recipe below. `logits=FILE` takes rows from the tensor
//! `logits` (f32, `[N, V]`) of a safetensors file instead, the last fifth of them held out, or those of `held_out=FILE`. `settings`
//! are names, or `name:value`. `worst=N` shows the N held-out rows on which most is left.
//! Further keys: `steps`, `batch`, `lr`, `lr.GROUP` (a factor for a group of tensors), `beta2`, `gamma`, `seed`, `hidden`,
//! `decay`, `vocabulary`, `effect`, `entropy` and `loss` (the shares of `emphasis` in `train`) and `soap=1` for SOAP instead of AdamW.
#![expect(clippy::unwrap_used, reason = "an example fails by panicking")]

use lsn_heuristics::{History, Pipeline, ProcessorConfig, Scratch};
use lsn_samplers::{
    AdamWConfig, Architecture, Example, LogitSet, OptimizerKind, RankedTransform, RowLoss, Sampler, SamplingNetwork,
    Schedule, ScheduleKind, Target, Trainer, TrainerConfig, Workspace, loss_and_gradient,
};
use rand::{
    Rng, SeedableRng,
    distr::{Distribution, weighted::WeightedIndex},
};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

const TABLE: [(&str, &str, f64); 7] = [
    ("temperature", "temperature", 0.7),
    ("top_k", "top_k", 20.0),
    ("top_p", "top_p", 0.9),
    ("min_p", "min_p", 0.05),
    ("typical", "mass", 0.9),
    ("epsilon", "epsilon", 1e-3),
    ("eta", "epsilon", 1e-3),
];

/// Further settings of the same families.
const OTHERS: [(&str, &str, f64); 20] = [
    ("temperature", "temperature", 1.5),
    ("top_k", "top_k", 5.0),
    ("top_k", "top_k", 100.0),
    ("top_p", "top_p", 0.5),
    ("top_p", "top_p", 0.98),
    ("min_p", "min_p", 0.2),
    ("min_p", "min_p", 0.01),
    ("typical", "mass", 0.5),
    ("typical", "mass", 0.98),
    ("epsilon", "epsilon", 1e-2),
    ("eta", "epsilon", 1e-2),
    ("eta", "epsilon", 3e-4),
    ("top_h", "top_h", 0.8),
    ("top_h", "top_h", 0.4),
    ("tfs", "z", 0.95),
    ("xtc", "threshold", 0.1),
    ("top_a", "top_a", 0.2),
    ("top_n_sigma", "n", 1.0),
    ("quadratic", "smoothing_factor", 0.2),
    ("temperature", "temperature", 0.3),
];

const KEYS: [&str; 18] = [
    "architecture",
    "batch",
    "beta2",
    "decay",
    "effect",
    "entropy",
    "gamma",
    "held_out",
    "hidden",
    "logits",
    "loss",
    "lr",
    "seed",
    "settings",
    "soap",
    "steps",
    "vocabulary",
    "worst",
];

/// Steps after which the losses that positions are drawn by are taken anew.
const GROUP_STEPS: u64 = 120;

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
}

/// A row as a language model might give it: Zipf-like, Zipf-like with a favourite, or flat; in bf16.
fn synthetic(vocabulary: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let kind = rng.random_range(0..3);
    let (exponent, offset, spread) =
        (rng.random_range(0.8..2.2_f32), rng.random_range(0.5..10.0_f32), rng.random_range(1.2..3.0_f32));
    let (favourite, level) = (rng.random_range(0.5..6.0_f32), rng.random_range(8.0..14.0_f32));
    (0..vocabulary)
        .map(|rank| {
            let noise = normal(rng);
            let zipf = -exponent * (rank as f32 + offset).ln() + 0.3 * noise;
            let logit = match kind {
                0 => zipf,
                1 => zipf + if rank == 0 { favourite } else { 0.0 },
                _ => spread * noise,
            };
            f32::from_bits(((logit + level).to_bits() + 0x8000) & 0xffff_0000)
        })
        .collect()
}

fn read(path: &str) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor("logits").unwrap();
    let values: Vec<f32> = view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    values.chunks(view.shape()[1]).map(<[f32]>::to_vec).collect()
}

fn rows(options: &HashMap<String, String>) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    if let Some(path) = options.get("logits") {
        let mut rows = read(path);
        let held_out = match options.get("held_out") {
            Some(path) => read(path),
            None => rows.split_off(rows.len() - rows.len() / 5),
        };
        return (rows, held_out);
    }
    let vocabulary = options.get("vocabulary").map_or(4096, |text| text.parse().unwrap());
    let many = |seed, count| -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| synthetic(vocabulary, &mut rng)).collect()
    };
    (many(1, 1200), many(2, 200))
}

fn pipeline((name, param, value): (&str, &str, f64)) -> Pipeline {
    let value = if name == "top_k" { json!(value as u64) } else { json!(value) };
    let mut params: serde_json::Map<String, serde_json::Value> = [(param.to_owned(), value)].into_iter().collect();
    if name == "xtc" {
        params.insert("probability".to_owned(), json!(1.0));
    }
    Pipeline::from_config(&[ProcessorConfig { name: name.to_owned(), params: params.into_iter().collect() }]).unwrap()
}

fn processed(row: &[f32], pipeline: &Pipeline) -> Vec<f32> {
    let mut target = row.to_vec();
    pipeline.process(&mut target, History::default(), &mut pipeline.start(0), &mut Scratch::default()).unwrap();
    target
}

/// The examples, and the mean KL of the raw logits and the least that equal outputs of equal logits allow.
fn examples(rows: &[Vec<f32>], setting: (&str, &str, f64)) -> (Vec<Example>, f64, f64) {
    let pipeline = pipeline(setting);
    let (mut raw, mut least) = (0.0, 0.0);
    let examples = rows
        .iter()
        .map(|row| {
            let set = LogitSet::distinct(row).unwrap();
            let target = Target::new(&set, &processed(row, &pipeline)).unwrap();
            raw += loss_and_gradient(&set, set.log_probs(), &target, 0.0, None).kl / rows.len() as f64;
            least += target.least_kl(&set) / rows.len() as f64;
            Example { set, target }
        })
        .collect();
    (examples, raw, least)
}

fn main() {
    let options: HashMap<String, String> = std::env::args()
        .skip(1)
        .map(|option| {
            let (key, value) = option.split_once('=').unwrap_or_else(|| panic!("`{option}` is not key=value"));
            assert!(KEYS.contains(&key) || key.starts_with("lr."), "`{key}` is none of {KEYS:?} and lr.GROUP");
            (key.to_owned(), value.to_owned())
        })
        .collect();
    let number = |key: &str, default: f64| options.get(key).map_or(default, |text| text.parse().unwrap());
    let reference = options.get("architecture").is_some_and(|name| name == "SamplingNetwork");
    let architecture = if reference {
        Architecture::SamplingNetwork(SamplingNetwork { d_model: 32, d_ff: 64, n_blocks: 4, n_heads: 4, scale: true })
    } else {
        Architecture::RankedTransform(RankedTransform { hidden_dims: number("hidden", 48.0) as usize })
    };
    let steps = number("steps", 800.0) as u64;
    let config = TrainerConfig {
        optimizer: if options.contains_key("soap") { OptimizerKind::Soap } else { OptimizerKind::Adamw },
        adamw: AdamWConfig {
            betas: [0.9, number("beta2", 0.99)],
            weight_decay: number("decay", 0.0),
            ..AdamWConfig::default()
        },
        schedule: Schedule {
            kind: ScheduleKind::Cosine,
            lr: number("lr", if reference { 4e-3 } else { 1e-2 }),
            warmup_steps: 50,
            total_steps: steps,
        },
        gamma: number("gamma", 1.0),
        max_grad_norm: Some(1.0),
    };
    let batch = number("batch", 12.0) as usize;
    let (effect, entropy, loss) = (number("effect", 0.3), number("entropy", 0.2), number("loss", 0.3));
    let (train, held_out) = rows(&options);
    let wanted = options.get("settings").map_or("table", String::as_str);
    let settings = TABLE.iter().chain(&OTHERS).enumerate().filter(|(index, (name, _, value))| match wanted {
        "table" => *index < TABLE.len(),
        "all" => true,
        names => names.split(',').any(|wanted| match wanted.split_once(':') {
            Some((wanted, at)) => wanted == *name && at.parse() == Ok(*value),
            None => wanted == *name && *index < TABLE.len(),
        }),
    });
    println!(
        "{} with {}, {steps} steps",
        architecture.name(),
        serde_json::to_value(&architecture).unwrap()["arguments"]
    );
    for (_, &setting) in settings {
        let (training, ..) = examples(&train, setting);
        let (validation, raw, least) = examples(&held_out, setting);
        let sampler = Sampler::<f32>::new(architecture.clone(), number("seed", 0.0) as u64).unwrap();
        let factors: BTreeMap<String, f64> = ["sharpness", "cuts", "shift", "hidden"]
            .into_iter()
            .filter_map(|group| Some((group.to_owned(), options.get(&format!("lr.{group}"))?.parse().unwrap())))
            .collect();
        let mut trainer = Trainer::new(sampler, config).unwrap().with_lr_factors(&factors).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        // As `train` does with its `emphasis`, but for what is a group there: here it is as many random positions.
        let effects = training
            .iter()
            .map(|Example { set, target }| loss_and_gradient(set, set.log_probs(), target, 0.0, None).kl.max(0.0));
        // What is left on rows that were trained on tells what the network cannot, and what it could but has not seen enough for.
        let sample = &training[..validation.len().min(training.len())];
        let sample_raw = effects.clone().take(sample.len()).sum::<f64>() / sample.len() as f64;
        let by_effect = WeightedIndex::new(effects).unwrap();
        let by_entropy = WeightedIndex::new(training.iter().map(|example| example.set.entropy().max(0.0))).unwrap();
        let mut by_loss = None;
        let mut seen = Vec::new();
        for step in 1..=steps {
            if loss > 0.0 && step % GROUP_STEPS == 1 {
                let group: Vec<usize> =
                    (0..GROUP_STEPS as usize * batch).map(|_| rng.random_range(0..training.len())).collect();
                let examples: Vec<Example> = group.iter().map(|&at| training[at].clone()).collect();
                let losses = trainer.losses(&examples).into_iter().map(|loss| loss.kl.max(0.0));
                by_loss = WeightedIndex::new(losses).ok().map(|weighted| (group, weighted));
            }
            let mut pick = || match rng.random::<f64>() {
                at if at < effect => by_effect.sample(&mut rng),
                at if at < effect + entropy => by_entropy.sample(&mut rng),
                at if at < effect + entropy + loss
                    && let Some((group, weighted)) = &by_loss =>
                {
                    group[weighted.sample(&mut rng)]
                }
                _ => rng.random_range(0..training.len()),
            };
            let micro_batch = (0..batch).map(|_| training[pick()].clone()).collect();
            trainer.step(&[micro_batch]).unwrap();
            if step % steps.div_ceil(2) == 0 || step == steps {
                let RowLoss { kl, penalty } = trainer.evaluate(&validation);
                let learned = trainer.evaluate(sample).kl;
                seen.push(format!("{:.3} ({:.3})", 1.0 - kl / raw, 1.0 - learned / sample_raw));
                if step == steps {
                    println!(
                        "{:11} {:5} raw KL {raw:.4}, left {kl:.5} (of that ties {least:.5}), penalty {penalty:.5}, removed (of rows trained on) {}",
                        setting.0,
                        setting.2,
                        seen.join(" ")
                    );
                }
            }
        }
        show_worst(trainer.sampler(), &held_out, setting, number("worst", 0.0) as usize);
    }
}

/// Prints the rows on which most is left, with the tokens that the network weighs most wrongly.
fn show_worst(sampler: &Sampler<f32>, rows: &[Vec<f32>], setting: (&str, &str, f64), count: usize) {
    let mut workspace = Workspace::default();
    let (examples, ..) = examples(rows, setting);
    let losses = examples.iter().map(|Example { set, target }| sampler.loss(set, target, 0.0, &mut workspace).kl);
    let mut left: Vec<(f64, usize)> = losses.zip(0..).collect();
    left.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total: f64 = left.iter().map(|(kl, _)| kl).sum();
    for &(kl, row) in left.iter().take(count) {
        let raw = log_probs(&rows[row]);
        let wanted = log_probs(&processed(&rows[row], &pipeline(setting)));
        let mut learned = rows[row].clone();
        sampler.apply(&mut learned, &mut workspace).unwrap();
        let learned = log_probs(&learned);
        let mut tokens: Vec<usize> = (0..raw.len()).collect();
        tokens.sort_by(|&a, &b| raw[b].total_cmp(&raw[a]));
        let cost =
            |token: usize| wanted[token].exp() * (wanted[token] - learned[token]).abs().min(1e9) + learned[token].exp();
        let mut dearest: Vec<usize> = (0..tokens.len())
            .filter(|&rank| (wanted[tokens[rank]].exp() - learned[tokens[rank]].exp()).abs() > 1e-4)
            .collect();
        dearest.sort_by(|&a, &b| cost(tokens[b]).total_cmp(&cost(tokens[a])));
        println!("  row {row}: {kl:.4} of {total:.4} nats left in all");
        for &rank in dearest.iter().take(4) {
            let token = tokens[rank];
            let ells = [raw[token], wanted[token], learned[token]];
            println!(
                "    rank {rank}: raw p {:.6}, wanted {:.6}, learned {:.6} (ln {:.1})",
                ells[0].exp(),
                ells[1].exp(),
                ells[2].exp(),
                ells[2]
            );
        }
    }
}

/// Of each token; −inf where it was removed.
fn log_probs(logits: &[f32]) -> Vec<f64> {
    let set = LogitSet::distinct(logits).unwrap();
    (0..logits.len()).map(|token| set.position(token).map_or(f64::NEG_INFINITY, |at| set.log_probs()[at])).collect()
}

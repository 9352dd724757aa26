//! Labelling more generations than memory should hold, with the real program: rows per second, cores in use, resident memory.
//!
//! `LSN_BENCH_LARGE=1 cargo bench --profile dev --bench labels_at_size`; `LSN_BENCH_DIR` says where (a disk; three times the data),
//! `LSN_BENCH_BYTES` how large, `LSN_BENCH_STAGES` which labellers (`label.verifiable,label.diversity,label.overlap`). Fails where
//! a labeller needs 1 GiB of memory or more.

#![expect(clippy::unwrap_used, reason = "a bench that panics has failed, as it should")]

use lsn_digest::Digest;
use lsn_stage::{
    dataset::DataSetWriter,
    record::{FinishReason, Generation, GenerationId, ProcessorConfig, Prompt, SamplerInfo},
};
use serde_json::{Value, json};
use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const SAMPLERS: u64 = 24;
const SEEDS: u64 = 4;
/// Words of a reply.
const WORDS: u64 = 220;
/// Most resident memory of a labeller, in bytes.
const MEMORY: u64 = 1 << 30;

fn main() {
    if env::var_os("LSN_BENCH_LARGE").is_none() {
        println!("set LSN_BENCH_LARGE=1 to label some GiB");
        return;
    }
    let bytes = env::var("LSN_BENCH_BYTES").map_or(5 << 30, |text| text.parse().unwrap());
    let stages = env::var("LSN_BENCH_STAGES").unwrap_or_else(|_| "label.verifiable,label.diversity".to_owned());
    let directory = env::var("LSN_BENCH_DIR").map_or_else(|_| tempfile::tempdir(), tempfile::tempdir_in).unwrap();
    let generations = directory.path().join("generations");
    let start = Instant::now();
    let rows = write_generations(&generations, bytes);
    println!("{rows} rows, {bytes} bytes, written in {:.0} s", start.elapsed().as_secs_f64());

    for stage in stages.split(',') {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lsn"));
        command.args(["stage", "run", stage]).arg("--input").arg(format!("generations={}", generations.display()));
        if stage == "label.overlap" {
            let index = directory.path().join("index");
            build_index(directory.path(), &index);
            command.arg("--input").arg(format!("index={}", index.display()));
        }
        command.arg("--out").arg(directory.path().join(stage)).stdout(Stdio::null());
        let used = run(&mut command);
        println!(
            "{stage}: {:.0} rows/s of wall time, {:.0} rows per CPU second, {:.2} cores, {:.0} MiB resident",
            rows as f64 / used.wall.as_secs_f64(),
            rows as f64 / used.cpu.as_secs_f64(),
            used.cpu.as_secs_f64() / used.wall.as_secs_f64(),
            used.resident as f64 / f64::from(1 << 20),
        );
        assert!(used.resident < MEMORY, "{stage} held {} bytes", used.resident);
    }
}

/// A linear congruence: the data set is the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn text(random: &mut Random, words: u64) -> String {
    let word = |random: &mut Random| {
        let uniform = random.below(3000);
        let mut number = uniform * uniform / 3000 + 7;
        let mut word = String::new();
        while number > 0 {
            word.push_str(["ra", "to", "mi", "se", "lu", "ne", "ka"][(number % 7) as usize]);
            number /= 7;
        }
        word
    };
    let mut text = String::new();
    for i in 0..words {
        text.push_str(&word(random));
        text.push_str(if i % 14 == 13 { ".\n" } else { " " });
    }
    text
}

/// A number, a formula or instructions to check, in turns.
fn prompt(number: u64, random: &mut Random) -> Prompt {
    let mut prompt = Prompt::new("synthetic", format!("Prompt {number}: {}", text(random, 60)), None);
    match number % 3 {
        0 => prompt.ground_truth = Some(json!(format!("#### {}", number % 100))),
        1 => prompt.ground_truth = Some(json!(format!("\\frac{{{}}}{{7}}", number % 50))),
        _ => {
            let ids = json!(["punctuation:no_comma", "length_constraints:number_words", "keywords:existence"]);
            let kwargs = json!([{}, {"num_words": 100, "relation": "at least"}, {"keywords": ["rato"]}]);
            prompt.extra.insert("instruction_id_list".to_owned(), ids);
            prompt.extra.insert("kwargs".to_owned(), kwargs);
        }
    }
    prompt
}

/// Writes generations until there are that many bytes of them; gives the rows.
fn write_generations(directory: &Path, bytes: u64) -> u64 {
    let mut writer = DataSetWriter::create(directory).unwrap();
    let mut random = Random(1);
    let (model, parameters) = (Digest::of(b"synthetic"), json!({}));
    let mut written = 0;
    for number in 0.. {
        let prompt = prompt(number, &mut random);
        for sampler in 0..SAMPLERS {
            for seed in 0..SEEDS {
                let pipeline: Value =
                    json!([{"name": "temperature", "params": {"temperature": sampler as f64 / 10.0}}]);
                let config: Vec<ProcessorConfig> = serde_json::from_value(pipeline.clone()).unwrap();
                let mut reply = text(&mut random, WORDS);
                match number % 3 {
                    0 => reply.push_str(&format!("So it is {}.", random.below(100))),
                    1 => reply.push_str(&format!("So it is \\boxed{{\\frac{{{}}}{{14}}}}.", random.below(100))),
                    _ => {}
                }
                let row = Generation {
                    generation_id: GenerationId::new(prompt.prompt_id, &pipeline, seed, &model, &parameters),
                    prompt: prompt.clone(),
                    sampler_info: SamplerInfo { name: format!("t{sampler}"), config },
                    seed,
                    token_ids: (0..WORDS).map(|_| random.below(32_000) as u32).collect(),
                    generation: reply,
                    finish_reason: FinishReason::Stop,
                    logprobs: None,
                    model: model.to_string(),
                    error: None,
                };
                writer.push(&row).unwrap();
                written += serde_json::to_vec(&row).unwrap().len() as u64 + 1;
                if written >= bytes {
                    return writer.finish().unwrap().rows;
                }
            }
        }
    }
    unreachable!("prompts do not end")
}

/// An index of other texts by the same words.
fn build_index(directory: &Path, index: &Path) {
    let mut random = Random(2);
    let lines: String = (0..20_000).map(|_| json!({"text": text(&mut random, WORDS)}).to_string() + "\n").collect();
    let documents = directory.join("documents.jsonl");
    std::fs::write(&documents, lines).unwrap();
    let built = directory.join("built");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lsn"));
    command.args(["stage", "run", "index"]).arg("--input").arg(format!("documents={}", documents.display()));
    assert!(command.arg("--out").arg(&built).stdout(Stdio::null()).status().unwrap().success());
    std::fs::rename(built.join("index"), index).unwrap();
}

struct Used {
    wall: Duration,
    cpu: Duration,
    /// Most resident memory, in bytes.
    resident: u64,
}

/// Runs a program and takes what the kernel counted for it.
fn run(command: &mut Command) -> Used {
    let start = Instant::now();
    #[expect(clippy::zombie_processes, reason = "`wait4` below waits for it")]
    let child = command.spawn().unwrap();
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for writes, and zeroed is a valid value of this plain C structure. The child is waited for
    // here and nowhere else.
    let usage = unsafe {
        assert!(libc::wait4(child.id().cast_signed(), &raw mut status, 0, usage.as_mut_ptr()) > 0);
        usage.assume_init()
    };
    assert_eq!(status, 0, "the labeller failed");
    let time = |time: libc::timeval| Duration::new(time.tv_sec.cast_unsigned(), time.tv_usec as u32 * 1000);
    let resident = usage.ru_maxrss.cast_unsigned() * 1024;
    Used { wall: start.elapsed(), cpu: time(usage.ru_utime) + time(usage.ru_stime), resident }
}

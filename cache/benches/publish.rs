//! Registering and restoring a 2 GiB file, beside the plain copy that made it.
//!
//! `LSN_BENCH_DIR` says where (a disk, not memory); `LSN_BENCH_BYTES` how large.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use criterion::{Criterion, criterion_group, criterion_main};
use lsn_cache::{Access, OpenMode, Ownership, Store, WriteBehind};
use std::{
    env, fs,
    hint::black_box,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

fn source(directory: &Path) -> std::path::PathBuf {
    let bytes: u64 = env::var("LSN_BENCH_BYTES").map_or(2 << 30, |text| text.parse().unwrap());
    let path = directory.join("source");
    let mut file = fs::File::create(&path).unwrap();
    let mut block = vec![0u8; 1 << 20];
    for number in 0..bytes.div_ceil(1 << 20) {
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut block);
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();
    path
}

fn copy(source: &Path, target: &Path) {
    assert!(std::process::Command::new("cp").arg(source).arg(target).status().unwrap().success());
}

/// Copies with `cp`, times `act` on the copy, and clears up.
fn each(
    directory: &Path,
    source: &Path,
    rounds: u64,
    write_behind: bool,
    act: impl Fn(&Path, &Path) -> Duration,
) -> Duration {
    let watcher = WriteBehind::new();
    let mut total = Duration::ZERO;
    for _ in 0..rounds {
        let work = tempfile::tempdir_in(directory).unwrap();
        let out = work.path().join("out");
        let watch = write_behind.then(|| watcher.watch(vec![out.clone()]));
        let start = Instant::now();
        copy(source, &out);
        let copied = start.elapsed();
        drop(watch);
        let acted = act(work.path(), &out);
        total += if acted.is_zero() { copied } else { acted };
    }
    total
}

fn publish(criterion: &mut Criterion) {
    let directory = env::var("LSN_BENCH_DIR").map_or_else(|_| tempfile::tempdir(), tempfile::tempdir_in).unwrap();
    let source = source(directory.path());
    let mut group = criterion.benchmark_group("large file");
    group.sample_size(10).measurement_time(Duration::from_secs(30)).warm_up_time(Duration::from_millis(1));

    let timed = |rounds, write_behind, act: &dyn Fn(&Path, &Path) -> Duration| {
        each(directory.path(), &source, rounds, write_behind, act)
    };
    group
        .bench_function("plain copy", |bench| bench.iter_custom(|rounds| timed(rounds, false, &|_, _| Duration::ZERO)));
    group.bench_function("digest", |bench| {
        bench.iter(|| blake3::Hasher::new().update_mmap_rayon(black_box(&source)).unwrap().finalize());
    });
    let register = |work: &Path, out: &Path| {
        let store = Store::open(&work.join("store"), OpenMode::ReadWrite).unwrap();
        let start = Instant::now();
        black_box(store.capture(out, Ownership::Own).unwrap());
        start.elapsed()
    };
    group.bench_function("register", |bench| bench.iter_custom(|rounds| timed(rounds, false, &register)));
    group
        .bench_function("register, written behind", |bench| bench.iter_custom(|rounds| timed(rounds, true, &register)));
    let restore = |work: &Path, out: &Path| {
        let store = Store::open(&work.join("store"), OpenMode::ReadWrite).unwrap();
        let artifact = store.capture(out, Ownership::Own).unwrap();
        let start = Instant::now();
        store.materialize(&artifact, &work.join("back"), Access::ReadOnly).unwrap();
        start.elapsed()
    };
    group.bench_function("restore", |bench| bench.iter_custom(|rounds| timed(rounds, true, &restore)));
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);

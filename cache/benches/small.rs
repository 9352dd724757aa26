//! What a run pays per task and per row: records, lookups, stat cache, index, rows.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lsn_cache::{
    ActionRecord, Catalog, Digest, EventHandler, Index, MemoryIndex, OpenMode, Ownership, Provenance, SledIndex, Store,
    Table, TaskKey,
};
use std::{fs, hint::black_box, path::Path, sync::Arc};

const TASKS: u64 = 1000;

fn key(number: u64) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn records(store: &Store, directory: &Path) -> Vec<ActionRecord> {
    let record = |number: u64| {
        let path = directory.join(number.to_string());
        fs::write(&path, format!("output {number}\n").repeat(20)).unwrap();
        let artifact = store.capture(&path, Ownership::Own).unwrap();
        ActionRecord {
            key: TaskKey(key(number)),
            key_manifest: serde_json::json!({
                "format": 1, "stage": "command", "version": 1, "env": {},
                "params": {"run": format!("cp a{number} b{number}"), "outputs": {"out": format!("b{number}")}},
                "inputs": {"in": [key(number).hex()]},
            }),
            outputs: [("out".to_owned(), artifact)].into(),
            determinism: "exact".to_owned(),
            provenance: Provenance { pipeline: "p".to_owned(), task: format!("t[{number}]"), ..Provenance::default() },
        }
    };
    (0..TASKS).map(record).collect()
}

fn tasks(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store"), OpenMode::ReadWrite).unwrap();
    let records = records(&store, directory.path());
    let mut group = criterion.benchmark_group("1000 tasks");
    group.sample_size(10).throughput(Throughput::Elements(TASKS));
    group.bench_function("publish", |bench| {
        let fresh = || {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(&directory.path().join("store"), OpenMode::ReadWrite).unwrap();
            (directory, store)
        };
        let publish = |(directory, store): (tempfile::TempDir, Store)| {
            for record in &records {
                store.put_action(record).unwrap();
            }
            store.sync().unwrap();
            directory
        };
        bench.iter_batched(fresh, publish, BatchSize::PerIteration);
    });
    for record in &records {
        store.put_action(record).unwrap();
    }
    let catalog = Catalog::new(store, Arc::new(MemoryIndex::new()));
    group.bench_function("look up", |bench| {
        bench.iter(|| records.iter().for_each(|record| drop(black_box(catalog.lookup(&record.key).unwrap()))));
    });
    let paths: Vec<_> = (0..TASKS).map(|number| directory.path().join(number.to_string())).collect();
    group.bench_function("digest known inputs", |bench| {
        bench.iter(|| paths.iter().for_each(|path| _ = black_box(catalog.digest_path(path).unwrap())));
    });
    group.finish();
}

fn index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    group.sample_size(10);
    for entries in [1_000u64, 10_000] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        let open = || SledIndex::open(&path, "bench", &EventHandler::default()).unwrap();
        let index = open();
        for number in 0..entries {
            index.put(Table::Stat, &key(number).as_bytes()[..16], &[7; 72]).unwrap();
        }
        index.flush().unwrap();
        drop(index);
        group.bench_function(format!("open and close, {entries} entries"), |bench| bench.iter(open));
        let index = open();
        group.bench_function(format!("get, {entries} entries"), |bench| {
            let mut number = 0;
            bench.iter(|| {
                number = (number + 1) % entries;
                index.get(Table::Stat, &key(number).as_bytes()[..16]).unwrap()
            });
        });
        group.bench_function(format!("put one and flush, {entries} entries"), |bench| {
            bench.iter(|| {
                index.put(Table::Time, b"task", b"value").unwrap();
                index.flush().unwrap();
            });
        });
    }
    group.finish();
}

fn rows(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store"), OpenMode::ReadWrite).unwrap();
    let value = vec![b'x'; 2000];
    let mut group = criterion.benchmark_group("rows");
    group.sample_size(10);
    let rows = store.rows().open("put").unwrap();
    let mut number = 0;
    group.bench_function("put 2 KB", |bench| {
        bench.iter(|| {
            number += 1;
            rows.put(&key(number), &value).unwrap();
        });
    });
    drop(rows);
    let writer = store.rows().open("get").unwrap();
    for number in 0..50_000 {
        writer.put(&key(number), &value).unwrap();
    }
    writer.close().unwrap();
    group.bench_function("open 50000", |bench| bench.iter(|| store.rows().open("get").unwrap()));
    let rows = store.rows().open("get").unwrap();
    let mut number = 0;
    group.bench_function("get 2 KB of 50000", |bench| {
        bench.iter(|| {
            number = (number + 7919) % 50_000;
            rows.get(&key(number)).unwrap().unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, tasks, index, rows);
criterion_main!(benches);

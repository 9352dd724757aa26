//! Training learns, does not depend on the threads, and goes on from a kill as if nothing had been.

use lsn_pretrain::{Job, LossRecord, PretrainError, Sets, TrainConfig, Trained, chat::Encoded, train};
use std::{ops::ControlFlow, path::Path};

fn run(config: &TrainConfig, directory: &Path, threads: usize, stop_at: Option<u64>) -> Result<Trained, PretrainError> {
    let documents: Vec<Encoded> = crate::common::documents(40);
    let (heldout, train_set) = documents.split_at(8);
    let mut watch = |step: u64, _: Option<&LossRecord>| {
        if Some(step) == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let sets = Sets { train: train_set, heldout };
    let job = Job { vocabulary: crate::common::VOCABULARY, sets, initial: None, directory, identity: "test", threads };
    train(config, job, &mut watch)
}

fn bits(trained: &Trained) -> Vec<u32> {
    trained.parameters.iter().map(|p| p.to_bits()).collect()
}

#[test]
fn the_loss_falls() {
    let directory = tempfile::tempdir().unwrap();
    let trained = run(&TrainConfig { steps: 120, ..crate::common::small_config() }, directory.path(), 2, None).unwrap();
    let (first, last) = (&trained.log[0], trained.log.last().unwrap());
    assert!(last.heldout_loss.unwrap() < 0.5 * first.train_loss, "{first:?} {last:?}");
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let results: Vec<Vec<u32>> = [1, 2, 3, 8]
        .into_iter()
        .map(|threads| {
            let directory = tempfile::tempdir().unwrap();
            bits(&run(&crate::common::small_config(), directory.path(), threads, None).unwrap())
        })
        .collect();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let whole = tempfile::tempdir().unwrap();
    let uninterrupted = run(&crate::common::small_config(), whole.path(), 2, None).unwrap();
    for stop in [1, 4, 6, 13, 20, 23] {
        let directory = tempfile::tempdir().unwrap();
        let stopped = run(&crate::common::small_config(), directory.path(), 1, Some(stop));
        assert!(matches!(stopped, Err(PretrainError::Interrupted { step }) if step == stop));
        // A second stop on the way: what is kept must hold more than once.
        let again = run(&crate::common::small_config(), directory.path(), 3, Some((stop + 5).min(23)));
        assert!(again.is_err() || stop == 23);
        let resumed = run(&crate::common::small_config(), directory.path(), 2, None).unwrap();
        assert_eq!(bits(&resumed), bits(&uninterrupted), "stopped at {stop}");
        assert_eq!((resumed.log, resumed.tokens), (uninterrupted.log.clone(), uninterrupted.tokens));
    }
}

#[test]
fn another_identity_starts_afresh_and_damage_is_named() {
    let directory = tempfile::tempdir().unwrap();
    run(&crate::common::small_config(), directory.path(), 1, None).unwrap();
    let loaded = |identity: &str| lsn_pretrain::checkpoint::load(directory.path(), identity);
    assert!(loaded("test").unwrap().is_some());
    assert!(loaded("other").unwrap().is_none());
    let path = directory.path().join("checkpoint.safetensors");
    let mut content = std::fs::read(&path).unwrap();
    content.truncate(content.len() / 2);
    std::fs::write(&path, content).unwrap();
    let error = loaded("test").unwrap_err().to_string();
    assert!(error.contains("checkpoint.safetensors") && error.contains("remove it"), "{error}");
}

#[test]
fn a_document_that_cannot_fit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = TrainConfig { shard_tokens: 8, ..crate::common::small_config() };
    let error = run(&config, directory.path(), 1, None).unwrap_err();
    assert!(matches!(error, PretrainError::TooLong { limit: 8, .. }), "{error}");
}

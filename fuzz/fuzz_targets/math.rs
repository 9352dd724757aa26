//! Two texts, split at the first NUL, through every mathematics verifier.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lsn_labels::verifiable::math::{self, Mode, Options};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (gold, prediction) = text.split_once('\0').unwrap_or((&text, &text));
    for mode in [Mode::Compat, Mode::Strict] {
        math::verify(gold, prediction, &Options { mode, ..Options::default() });
    }
    math::minerva::verify(prediction, gold);
    math::hendrycks::is_equivalent(gold, prediction);
});

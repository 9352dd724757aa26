//! Which language a text is written in: a port of the n-gram model of `langdetect` with its profiles
//! (Nakatani Shuyo, "Language Detection Library for Java", 2010; ported to Python by M. Danilak).
//!
//! The reference multiplies up the probabilities of n-grams drawn at random from the text until one language is all but
//! certain, and averages seven such trials; its answer to a doubtful text depends on the seed. Here the draws come from
//! a fixed generator, the smoothing of the trials from fixed quantiles of its distribution, and there are more trials:
//! the answer is the one that the reference gives most often.

mod normalize;
mod profiles;

use normalize::{clean, known_grams};
use profiles::{Profiles, Share};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

/// Mean of the smoothing over the trials of the reference.
const SMOOTHING: f64 = 0.5;
/// Standard deviation of that.
const SMOOTHING_WIDTH: f64 = 0.05;
/// A share that the smoothing is relative to.
const BASE_FREQUENCY: f64 = 10_000.0;
/// Probability at which a trial is over.
const CERTAIN: f64 = 0.99999;
/// Draws after which a trial is over.
const MAX_DRAWS: usize = 1000;
/// Draws between two looks at the probabilities.
const DRAWS_PER_LOOK: usize = 5;
/// Mean probability below which no language is named.
const LEAST_PROBABILITY: f64 = 0.1;

/// Standard normal deviates that the trials' smoothing is spread over: the seven septile midpoints, five times.
const DEVIATES: [f64; 7] = [-1.465_234, -0.791_639, -0.366_106, 0.0, 0.366_106, 0.791_639, 1.465_234];
const TRIALS: usize = 35;

/// The text has nothing that a language could be recognised by: no letters, or only words in capitals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text has no letters that a language could be recognised by")]
pub struct NoFeatures;

/// The most probable language, as an ISO 639-1 code (Chinese as `zh-cn` or `zh-tw`); none where all are improbable.
///
/// # Errors
/// The text has no features.
pub fn detect(text: &str) -> Result<Option<&'static str>, NoFeatures> {
    let profiles = Profiles::get();
    let grams = known_grams(&clean(text, profiles), profiles);
    if grams.is_empty() {
        return Err(NoFeatures);
    }
    let languages = profiles.languages.len();
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut mean = vec![0.0; languages];
    for trial in 0..TRIALS {
        let smoothing = SMOOTHING + SMOOTHING_WIDTH * DEVIATES[trial % DEVIATES.len()];
        for (mean, probability) in mean.iter_mut().zip(run_trial(&grams, languages, smoothing, &mut random)) {
            *mean += probability / TRIALS as f64;
        }
    }
    let best = mean.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).filter(|(_, p)| **p > LEAST_PROBABILITY);
    Ok(best.map(|(language, _)| profiles.languages[language].as_str()))
}

fn run_trial(grams: &[&[Share]], languages: usize, smoothing: f64, random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut probability = vec![1.0 / languages as f64; languages];
    // A factor of `smoothing / base + share` for every language, over `smoothing / base`: languages without the n-gram
    // keep their value, and the common factor falls out when the sum is made 1 again.
    let weight = BASE_FREQUENCY / smoothing;
    for draw in 0.. {
        let pick = (u128::from(random.next_u64()) * grams.len() as u128) >> 64;
        for &Share { language, share } in grams[pick as usize] {
            probability[language] *= 1.0 + share * weight;
        }
        if draw % DRAWS_PER_LOOK == 0 {
            let sum: f64 = probability.iter().sum();
            let mut most = 0.0_f64;
            for p in &mut probability {
                *p /= sum;
                most = most.max(*p);
            }
            if most > CERTAIN || draw >= MAX_DRAWS {
                break;
            }
        }
    }
    probability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_recognised() {
        for (text, language) in [
            ("The weather is lovely today, and we are going for a walk in the park.", "en"),
            ("Das Wetter ist heute schön, und wir gehen im Park spazieren.", "de"),
            ("Il fait beau aujourd'hui et nous allons nous promener dans le parc.", "fr"),
            ("Сегодня прекрасная погода, и мы идём гулять в парк.", "ru"),
            ("今日は天気がいいので、公園に散歩に行きます。", "ja"),
            ("Leo hali ya hewa ni nzuri na tunaenda kutembea katika bustani.", "sw"),
            ("ಇಂದು ಹವಾಮಾನ ಚೆನ್ನಾಗಿದೆ ಮತ್ತು ನಾವು ಉದ್ಯಾನವನದಲ್ಲಿ ನಡೆಯಲು ಹೋಗುತ್ತಿದ್ದೇವೆ.", "kn"),
        ] {
            assert_eq!(detect(text), Ok(Some(language)), "{text}");
        }
    }

    #[test]
    fn a_text_without_letters_has_no_language() {
        for text in ["", "123 456!", "\u{a0}…", "http://example.org"] {
            assert_eq!(detect(text), Err(NoFeatures), "{text}");
        }
    }

    #[test]
    fn all_profiles_are_there() {
        let profiles = Profiles::get();
        assert_eq!(profiles.languages.len(), 55);
        for code in ["en", "zh-cn", "zh-tw", "sw", "ml"] {
            assert!(profiles.languages.iter().any(|known| known == code), "{code}");
        }
    }
}

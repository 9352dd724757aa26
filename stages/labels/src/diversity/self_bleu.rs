//! Self-BLEU: BLEU of every text against all the others (Y. Zhu et al., "Texygen", arXiv 1802.01886).
//!
//! Higher means less diverse. For every n-gram only the two largest counts over the texts are kept, with the owner of
//! the largest: the largest count *among the others* is then known at once, so a set costs time linear in its tokens.

use super::BleuTokenizer;
use rustc_hash::FxHashMap;

/// What stands in for a precision without a single match.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Smoothing {
    /// The k-th such order counts as `1 / (2^k · n-grams)` (sacreBLEU `exp`).
    Exp,
    /// That many matches (sacreBLEU `floor`; its default is 0.1).
    Floor(f64),
    /// Added to matches and n-grams of every order above 1 (sacreBLEU `add-k`; its default is 1).
    AddK(f64),
}

/// Which of the published forms of sentence BLEU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BleuForm {
    /// nltk's `sentence_bleu` with equal weights and smoothing method 1, as Texygen uses it; scale 0..1.
    Nltk,
    /// sacreBLEU's sentence BLEU; scale 0..100. `effective_order` leaves out the orders that a short text cannot have.
    Sacre { smoothing: Smoothing, effective_order: bool },
}

impl Default for BleuForm {
    /// sacreBLEU's defaults for sentences.
    fn default() -> Self {
        Self::Sacre { smoothing: Smoothing::Exp, effective_order: true }
    }
}

/// Self-BLEU of a set of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfBleu {
    pub mean: f64,
    pub per_text: Vec<f64>,
}

/// Self-BLEU of `texts` up to n-grams of `max_order`; none for fewer than two texts.
#[must_use]
pub fn self_bleu<T: AsRef<str>>(
    texts: &[T],
    tokenizer: BleuTokenizer,
    max_order: usize,
    form: BleuForm,
) -> Option<SelfBleu> {
    let tokens: Vec<Vec<String>> = texts.iter().map(|text| tokenizer.tokens(text.as_ref())).collect();
    self_bleu_tokens(&tokens, max_order, form)
}

/// Self-BLEU of texts that are tokens already; none for fewer than two texts or for order 0.
#[must_use]
pub fn self_bleu_tokens<T: AsRef<str>>(texts: &[Vec<T>], max_order: usize, form: BleuForm) -> Option<SelfBleu> {
    if texts.len() < 2 || max_order == 0 {
        return None;
    }
    let mut matches = vec![vec![0_u64; max_order]; texts.len()];
    let mut vocabulary: FxHashMap<&str, u32> = FxHashMap::default();
    let tokens: Vec<Vec<u32>> =
        texts.iter().map(|text| text.iter().map(|token| number(&mut vocabulary, token.as_ref())).collect()).collect();
    let mut grams = tokens.clone();
    for order in 1..=max_order {
        if order > 1 {
            let mut numbers: FxHashMap<(u32, u32), u32> = FxHashMap::default();
            for (gram, token) in grams.iter_mut().zip(&tokens) {
                let longer = gram.iter().zip(token.iter().skip(order - 1));
                *gram = longer.map(|(&prefix, &last)| number(&mut numbers, (prefix, last))).collect();
            }
        }
        count_matches(&grams, order, &mut matches);
    }
    let mut lengths: Vec<usize> = tokens.iter().map(Vec::len).collect();
    let per_text: Vec<f64> = {
        let sorted = {
            let mut sorted = lengths.clone();
            sorted.sort_unstable();
            sorted
        };
        lengths
            .drain(..)
            .zip(&matches)
            .map(|(length, matches)| score(matches, length, closest_other(&sorted, length), form))
            .collect()
    };
    Some(SelfBleu { mean: per_text.iter().sum::<f64>() / per_text.len() as f64, per_text })
}

fn number<K: std::hash::Hash + Eq>(numbers: &mut FxHashMap<K, u32>, key: K) -> u32 {
    let next = numbers.len() as u32;
    *numbers.entry(key).or_insert(next)
}

/// The two largest counts of an n-gram over the texts.
#[derive(Clone, Copy, Default)]
struct Peak {
    largest: u32,
    owner: u32,
    second: u32,
}

/// Adds, for every text, how many of its n-grams also occur in another text, clipped by the most in any other one.
fn count_matches(grams: &[Vec<u32>], order: usize, matches: &mut [Vec<u64>]) {
    let distinct = grams.iter().flatten().max().map_or(0, |last| *last as usize + 1);
    let mut peaks = vec![Peak::default(); distinct];
    let mut counts = vec![0_u32; distinct];
    let mut counted: Vec<Vec<(u32, u32)>> = Vec::with_capacity(grams.len());
    for (text, gram) in grams.iter().enumerate() {
        for &g in gram {
            counts[g as usize] += 1;
        }
        let mut mine = Vec::new();
        for &g in gram {
            let count = std::mem::take(&mut counts[g as usize]);
            if count == 0 {
                continue;
            }
            mine.push((g, count));
            let peak = &mut peaks[g as usize];
            if count > peak.largest {
                *peak = Peak { largest: count, owner: text as u32, second: peak.largest };
            } else {
                peak.second = peak.second.max(count);
            }
        }
        counted.push(mine);
    }
    for (text, mine) in counted.into_iter().enumerate() {
        matches[text][order - 1] = mine
            .into_iter()
            .map(|(g, count)| {
                let peak = peaks[g as usize];
                let others = if peak.owner == text as u32 { peak.second } else { peak.largest };
                u64::from(count.min(others))
            })
            .sum();
    }
}

/// Length of the other text whose length is nearest (the shorter one of two equally near).
fn closest_other(sorted: &[usize], length: usize) -> usize {
    let at = sorted.partition_point(|&other| other < length);
    if sorted.get(at + 1) == Some(&length) {
        return length;
    }
    let below = at.checked_sub(1).map(|i| sorted[i]);
    match (below, sorted.get(at + 1).copied()) {
        (Some(below), Some(above)) if length - below <= above - length => below,
        (Some(below), None) => below,
        (_, Some(above)) => above,
        (None, None) => length,
    }
}

fn score(matches: &[u64], length: usize, reference: usize, form: BleuForm) -> f64 {
    if length == 0 {
        return 0.0;
    }
    let brevity = if length < reference { (1.0 - reference as f64 / length as f64).exp() } else { 1.0 };
    match form {
        BleuForm::Nltk => brevity * nltk_precision(matches, length),
        BleuForm::Sacre { smoothing, effective_order } => {
            100.0 * brevity * sacre_precision(matches, length, smoothing, effective_order)
        }
    }
}

fn nltk_precision(matches: &[u64], length: usize) -> f64 {
    if matches[0] == 0 {
        return 0.0;
    }
    let log: f64 = matches
        .iter()
        .enumerate()
        .map(|(i, &matched)| {
            let total = length.saturating_sub(i).max(1) as f64;
            let matched = if matched == 0 { 0.1 } else { matched as f64 };
            (matched / total).ln()
        })
        .sum();
    (log / matches.len() as f64).exp()
}

fn sacre_precision(matches: &[u64], length: usize, smoothing: Smoothing, effective_order: bool) -> f64 {
    if matches.iter().all(|&matched| matched == 0) {
        return 0.0;
    }
    let mut log = 0.0;
    let mut orders = 0;
    let mut halvings = 1.0;
    for (i, &matched) in matches.iter().enumerate() {
        let added = match smoothing {
            Smoothing::AddK(k) if i > 0 => k,
            _ => 0.0,
        };
        let matched = matched as f64 + added;
        let total = length.saturating_sub(i) as f64 + added;
        if total == 0.0 {
            break;
        }
        orders += 1;
        log += if matched > 0.0 {
            matched / total
        } else {
            match smoothing {
                Smoothing::Exp => {
                    halvings *= 2.0;
                    1.0 / (halvings * total)
                }
                Smoothing::Floor(floor) => floor / total,
                Smoothing::AddK(_) => 0.0,
            }
        }
        .ln();
    }
    if !effective_order && orders < matches.len() {
        return 0.0;
    }
    (log / orders as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Matches by definition: clip by the maximum over all other texts.
    fn slow_matches(texts: &[Vec<u32>], text: usize, order: usize) -> u64 {
        let count = |t: &[u32], gram: &[u32]| t.windows(order).filter(|w| *w == gram).count() as u64;
        let mut grams: Vec<&[u32]> = texts[text].windows(order).collect();
        grams.sort_unstable();
        grams.dedup();
        grams
            .into_iter()
            .map(|gram| {
                let others = (0..texts.len()).filter(|&o| o != text).map(|o| count(&texts[o], gram)).max();
                count(&texts[text], gram).min(others.unwrap_or(0))
            })
            .sum()
    }

    proptest! {
        #[test]
        fn linear_counting_equals_the_definition(
            texts in prop::collection::vec(prop::collection::vec(0_u32..4, 0..12), 2..6),
        ) {
            let words: Vec<Vec<String>> =
                texts.iter().map(|t| t.iter().map(|w| w.to_string()).collect()).collect();
            let form = BleuForm::default();
            let fast = self_bleu_tokens(&words, 4, form).unwrap();
            for (text, &got) in fast.per_text.iter().enumerate() {
                let matches: Vec<u64> = (1..=4).map(|order| slow_matches(&texts, text, order)).collect();
                let length = texts[text].len();
                let others = (0..texts.len()).filter(|&o| o != text).map(|o| texts[o].len());
                let reference = others.min_by_key(|&other| (other.abs_diff(length), other)).unwrap();
                prop_assert!((got - score(&matches, length, reference, form)).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn one_text_has_no_self_bleu() {
        assert_eq!(self_bleu(&["a b c"], BleuTokenizer::V13a, 4, BleuForm::default()), None);
    }

    #[test]
    fn equal_texts_are_not_diverse_at_all() {
        let texts = ["a small red house stands here"; 3];
        let bleu = self_bleu(&texts, BleuTokenizer::V13a, 4, BleuForm::default()).unwrap();
        assert!((bleu.mean - 100.0).abs() < 1e-9);
    }
}

//! The n-gram profiles of the languages, as the data file packs them.

use rustc_hash::FxHashMap;
use std::sync::LazyLock;

/// Longest n-gram of the profiles, in characters.
pub const MAX_GRAM: usize = 3;

/// Compressed table of `data/langdetect`; its README says where it comes from.
const PACKED: &[u8] = include_bytes!("../../data/langdetect/profiles.tsv.zst");

/// How frequent an n-gram is in one language.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub language: usize,
    /// Of all n-grams of that length in the language's profile.
    pub share: f64,
}

/// Everything that the detector was trained on.
pub struct Profiles {
    /// ISO 639-1 codes (Chinese as `zh-cn` and `zh-tw`), in alphabetical order.
    pub languages: Vec<String>,
    /// Where an n-gram's shares lie in `shares`.
    grams: FxHashMap<u64, (u32, u32)>,
    shares: Vec<Share>,
    /// Chinese characters that count as another one.
    pub kanji: FxHashMap<char, char>,
    /// Vietnamese letters by plain letter and combining mark.
    pub composed: FxHashMap<(char, char), char>,
}

#[expect(
    clippy::expect_used,
    reason = "the table is part of the program, and every test of this module reads all of it"
)]
static PROFILES: LazyLock<Profiles> = LazyLock::new(|| Profiles::unpack(PACKED).expect("a sound table of profiles"));

/// One number for up to three characters.
pub fn gram_key(gram: impl IntoIterator<Item = char>) -> u64 {
    gram.into_iter().fold(0, |key, c| key << 21 | u64::from(u32::from(c)))
}

impl Profiles {
    /// The profiles, unpacked on first use (some 20 ms).
    pub fn get() -> &'static Self {
        &PROFILES
    }

    fn unpack(packed: &[u8]) -> Option<Self> {
        let table = String::from_utf8(zstd::decode_all(packed).ok()?).ok()?;
        let mut languages = Vec::new();
        let (mut kanji, mut composed) = (FxHashMap::default(), FxHashMap::default());
        let mut totals = [0.0; MAX_GRAM];
        let mut counted: Vec<(u64, Share)> = Vec::new();
        for line in table.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields.as_slice() {
                ["kanji", group] => {
                    let first = group.chars().next()?;
                    kanji.extend(group.chars().map(|c| (c, first)));
                }
                ["vi", mark, plain, letters] => {
                    let mark = mark.chars().next()?;
                    composed.extend(plain.chars().zip(letters.chars()).map(|(c, letter)| ((c, mark), letter)));
                }
                ["lang", code, sums @ ..] => {
                    languages.push((*code).to_owned());
                    for (total, sum) in totals.iter_mut().zip(sums) {
                        *total = sum.parse().ok()?;
                    }
                }
                [gram, count] => {
                    let count: f64 = count.parse().ok()?;
                    let share = count / totals.get(gram.chars().count().checked_sub(1)?)?;
                    counted.push((gram_key(gram.chars()), Share { language: languages.len().checked_sub(1)?, share }));
                }
                _ => return None,
            }
        }
        counted.sort_by_key(|(key, _)| *key);
        let mut grams = FxHashMap::with_capacity_and_hasher(counted.len() / 2, Default::default());
        let mut start = 0;
        for group in counted.chunk_by(|a, b| a.0 == b.0) {
            grams.insert(group[0].0, (start as u32, (start + group.len()) as u32));
            start += group.len();
        }
        Some(Self { languages, grams, shares: counted.into_iter().map(|(_, share)| share).collect(), kanji, composed })
    }

    /// An n-gram's shares in the languages that have it; none where no language does.
    pub fn shares(&self, key: u64) -> Option<&[Share]> {
        self.grams.get(&key).map(|&(from, to)| &self.shares[from as usize..to as usize])
    }
}

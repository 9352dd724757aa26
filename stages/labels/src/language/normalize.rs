//! What the detector makes of a text before it counts n-grams: addresses out, characters into classes.

use super::profiles::{MAX_GRAM, Profiles, Share, gram_key};

/// Characters of a text that are looked at.
const MAX_CHARS: usize = 10_000;
const MAX_ADDRESS: usize = 2076;
const MAX_USER: usize = 64;
const MAX_HOST_PART: usize = 255;

/// The text without web and mail addresses, with Vietnamese letters composed and runs of spaces joined; without Latin
/// letters where twice as many others are present.
pub fn clean(text: &str, profiles: &Profiles) -> Vec<char> {
    let text = without_mail(without_addresses(text.chars().collect()));
    let text = composed(&text, profiles);
    let mut cleaned = Vec::with_capacity(text.len().min(MAX_CHARS));
    let mut before = None;
    for &c in text.iter().take(MAX_CHARS) {
        if c != ' ' || before != Some(' ') {
            cleaned.push(c);
        }
        before = Some(c);
    }
    let latin = |c: char| ('A'..='z').contains(&c);
    let latins = cleaned.iter().filter(|&&c| latin(c)).count();
    let others = cleaned.iter().filter(|&&c| c >= '\u{300}').count();
    if latins * 2 < others {
        cleaned.retain(|&c| !latin(c));
    }
    cleaned
}

fn is_address(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.?&~;+=/#".contains(c)
}

/// `https?://[-_.?&~;+=/#0-9A-Za-z]{1,2076}` becomes a space.
fn without_addresses(text: Vec<char>) -> Vec<char> {
    if !text.windows(3).any(|w| w == [':', '/', '/']) {
        return text;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let scheme = ["http://", "https://"].into_iter().find_map(|scheme| {
            let length = scheme.len();
            (rest.len() > length && rest.iter().zip(scheme.chars()).all(|(a, b)| *a == b) && is_address(rest[length]))
                .then_some(length)
        });
        if let Some(length) = scheme {
            out.push(' ');
            at += length + rest[length..].iter().take(MAX_ADDRESS).take_while(|&&c| is_address(c)).count();
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// `[-_.0-9A-Za-z]{1,64}@[-_0-9A-Za-z]{1,255}[-_.0-9A-Za-z]{1,255}` becomes a space.
fn without_mail(text: Vec<char>) -> Vec<char> {
    if !text.contains(&'@') {
        return text;
    }
    let host = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let user = |c: char| host(c) || c == '.';
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    // How much of the end of `out` may still be the part of an address before the `@`.
    let mut users = 0;
    let mut at = 0;
    while at < text.len() {
        let c = text[at];
        if c == '@' && users > 0 {
            let first = text[at + 1..].iter().take(MAX_HOST_PART).take_while(|&&c| host(c)).count();
            let second = text[at + 1 + first..].iter().take(MAX_HOST_PART).take_while(|&&c| user(c)).count();
            if first >= 2 || (first == 1 && second > 0) {
                out.truncate(out.len() - users.min(MAX_USER));
                out.push(' ');
                users = 0;
                at += 1 + first + second;
                continue;
            }
        }
        users = if user(c) { users + 1 } else { 0 };
        out.push(c);
        at += 1;
    }
    out
}

fn composed(text: &[char], profiles: &Profiles) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let mark = text.get(at + 1).copied().filter(|mark| ('\u{300}'..='\u{323}').contains(mark));
        match mark.and_then(|mark| profiles.composed.get(&(text[at], mark))) {
            Some(&letter) => {
                out.push(letter);
                at += 2;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

/// The class of a character: punctuation as a space, syllabaries as one character, Chinese by groups.
fn class(c: char, profiles: &Profiles) -> char {
    match c {
        'A'..='Z' | 'a'..='z' => c,
        '\0'..='\u{7f}' | '\u{a0}' | '\u{ab}' | '\u{b0}' | '\u{bb}' | '\u{2000}'..='\u{206f}' => ' ',
        '\u{219}' => '\u{15f}',
        '\u{21b}' => '\u{163}',
        '\u{6cc}' => '\u{64a}',
        '\u{1ea0}'..='\u{1eff}' => '\u{1ec3}',
        '\u{3040}'..='\u{309f}' => '\u{3042}',
        '\u{30a0}'..='\u{30ff}' => '\u{30a2}',
        '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}' => '\u{3105}',
        '\u{4e00}'..='\u{9fff}' => profiles.kanji.get(&c).copied().unwrap_or(c),
        '\u{ac00}'..='\u{d7af}' => '\u{ac00}',
        c => c,
    }
}

/// The n-grams of a cleaned text that some profile has, in order; none of words that begin with two capitals.
pub fn known_grams(text: &[char], profiles: &'static Profiles) -> Vec<&'static [Share]> {
    let mut found = Vec::with_capacity(text.len() * 2);
    let mut window = vec![' '];
    let mut capitals = false;
    for &c in text {
        let c = class(c, profiles);
        let last = window[window.len() - 1];
        if last == ' ' {
            window.clear();
            window.push(' ');
            capitals = false;
            if c == ' ' {
                continue;
            }
        } else if window.len() >= MAX_GRAM {
            window.remove(0);
        }
        window.push(c);
        capitals = c.is_uppercase() && (last.is_uppercase() || capitals);
        if capitals {
            continue;
        }
        for length in 1..=window.len() {
            let gram = &window[window.len() - length..];
            if gram != [' '] {
                found.extend(profiles.shares(gram_key(gram.iter().copied())));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> String {
        clean(text, Profiles::get()).into_iter().collect()
    }

    #[test]
    fn addresses_are_left_out() {
        assert_eq!(cleaned("see https://a.b/c?d=e#f, http:// and http://é"), "see , http:// and http://é");
        assert_eq!(cleaned("to a.b@c.de now, x@y and @z"), "to now, x@y and @z");
        assert_eq!(cleaned(&format!("{}@ab", "u".repeat(70))), format!("{} ", "u".repeat(6)));
    }

    #[test]
    fn letters_are_composed_and_spaces_joined() {
        assert_eq!(cleaned("a\u{300}  e\u{302}\u{301}"), "à e\u{302}\u{301}");
        assert_eq!(cleaned("привет мир abc"), "привет мир ");
    }
}

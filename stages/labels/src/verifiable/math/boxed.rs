//! The box that holds the answer of a MATH solution.

/// The last boxed expression of a text, command included: `\boxed{…}` with its braces balanced, `\boxed …` up to the next
/// `$`, or the same of `\fbox`.
#[must_use]
pub fn last_boxed(text: &str) -> Option<&str> {
    if let Some(spaced) = text.rfind("\\boxed ") {
        let rest = &text[spaced..];
        return Some(rest.find('$').map_or(rest, |end| &rest[..end]));
    }
    let start = text.rfind("\\boxed").or_else(|| text.rfind("\\fbox"))?;
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(&text[start..=at]);
                }
            }
            _ => {}
        }
    }
    None
}

/// What a `\boxed` expression holds; none for `\fbox`, which the benchmark's program does not unwrap.
#[must_use]
pub fn boxed_content(boxed: &str) -> Option<&str> {
    if let Some(rest) = boxed.strip_prefix("\\boxed ") {
        return Some(rest);
    }
    boxed.strip_prefix("\\boxed{")?.strip_suffix('}')
}

//! The string equivalence of the MATH benchmark's authors (D. Hendrycks et al., "Measuring mathematical problem solving
//! with the MATH dataset", arXiv 2103.03874).

/// Whether two answers are the same text after normalisation; where either cannot be normalised, whether they are the
/// same text as written.
#[must_use]
pub fn is_equivalent(a: &str, b: &str) -> bool {
    match (normalize(a), normalize(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// The normal form of an answer; none where the authors' program fails on it.
#[must_use]
pub fn normalize(answer: &str) -> Option<String> {
    let mut text = answer.replace('\n', "").replace("\\!", "").replace("\\\\", "\\");
    for (from, to) in [
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\$", ""),
    ] {
        text = text.replace(from, to);
    }
    text = without_units(&text)?;
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.");
    if text.is_empty() {
        return Some(text);
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    if let Some((left, right)) = text.split_once('=')
        && !right.contains('=')
        && left.chars().count() <= 2
    {
        text = right.to_owned();
    }
    text = braced_roots(&text)?.replace(' ', "");
    text = braced_fractions(&text)?;
    if text == "0.5" {
        text = "\\frac{1}{2}".to_owned();
    }
    slash_as_fraction(&text)
}

fn without_units(text: &str) -> Option<String> {
    match text.split_once("\\text{ ") {
        Some((_, rest)) if rest.contains("\\text{ ") => None,
        Some((before, _)) => Some(before.to_owned()),
        None => Some(text.to_owned()),
    }
}

/// `\sqrt3` → `\sqrt{3}`.
fn braced_roots(text: &str) -> Option<String> {
    let mut parts = text.split("\\sqrt");
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let mut chars = part.chars();
        match chars.next()? {
            '{' => out.extend(["\\sqrt", part]),
            first => out.push_str(&format!("\\sqrt{{{first}}}{}", chars.as_str())),
        }
    }
    Some(out)
}

/// `\frac12` → `\frac{1}{2}`; a fraction with fewer than two characters after it stops all bracing.
fn braced_fractions(text: &str) -> Option<String> {
    let mut parts = text.split("\\frac");
    let mut out = parts.next()?.to_owned();
    for part in parts {
        out.push_str("\\frac");
        let mut chars = part.chars();
        let first = chars.next()?;
        if first == '{' {
            out.push_str(part);
            continue;
        }
        let Some(second) = chars.next() else { return Some(text.to_owned()) };
        if second == '{' {
            out.push_str(&format!("{{{first}}}{{{}", chars.as_str()));
        } else {
            out.push_str(&format!("{{{first}}}{{{second}}}{}", chars.as_str()));
        }
    }
    Some(out)
}

/// `a/b` of two integers → `\frac{a}{b}`; none where a side is not an integer.
fn slash_as_fraction(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('/').collect();
    let &[a, b] = parts.as_slice() else { return Some(text.to_owned()) };
    let integer = |side: &str| {
        let digits = side.strip_prefix(['-', '+']).unwrap_or(side);
        (!digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())).then_some(())
    };
    integer(a)?;
    integer(b)?;
    let plain = |side: &str| {
        let (sign, digits) = if let Some(rest) = side.strip_prefix('-') { ("-", rest) } else { ("", side) };
        let digits = digits.trim_start_matches('+').trim_start_matches('0');
        if digits.is_empty() { "0".to_owned() } else { format!("{sign}{digits}") }
    };
    if text == format!("{}/{}", plain(a), plain(b)) {
        return Some(format!("\\frac{{{}}}{{{}}}", plain(a), plain(b)));
    }
    Some(text.to_owned())
}

//! What names stand for.

use super::super::{
    super::expr::{Constant, Expr},
    lexer::Kind,
    syntax::{NodeId, Span},
};
use super::{Converter, Meaning};

impl Converter<'_> {
    pub(super) fn name(&mut self, token: u32, subscript: Option<Span>, superscript: Option<NodeId>) -> Meaning {
        let text = self.token_text(token);
        let mut name = match self.tokens[token as usize].kind {
            // The imaginary unit loses its scripts.
            Kind::Letter if text == "I" => return Ok(Expr::Constant(Constant::I)),
            Kind::Accent => accented(text),
            _ => text.trim().to_owned(),
        };
        if let Some((from, to)) = subscript {
            let inner = self.span_text((from + 1, to));
            let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(&inner).trim();
            if inner.chars().count() > 1 {
                name.push_str(&format!("_{{{inner}}}"));
            } else {
                name.push_str(&format!("_{inner}"));
            }
        }
        let value = self.named(&name);
        self.raised(value, superscript)
    }

    pub(super) fn named(&self, name: &str) -> Expr {
        let name = name.trim();
        let name = greek_name(&name.replace('"', "")).map_or_else(|| name.to_owned(), str::to_owned);
        let name = name.strip_prefix('\\').unwrap_or(&name);
        let lower = if matches!(name, "pi" | "gamma" | "Gamma") { name.to_owned() } else { name.to_lowercase() };
        match lower.as_str() {
            "pi" => Expr::Constant(Constant::Pi),
            "gamma" | "Gamma" => Expr::Constant(Constant::EulerGamma),
            _ => self.symbol(lower),
        }
    }

    /// The variable behind a `d`, in its own case.
    pub(super) fn differential(&self, token: u32) -> String {
        let text = &self.token_text(token)[1..];
        let text = text.trim_start_matches([' ', '\t', '\r', '\n']);
        text.strip_prefix('\\').unwrap_or(text).to_owned()
    }
}

/// The name that a dressed-up text stands for.
fn accented(text: &str) -> String {
    let (command, inner) = text[1..].split_once('{').unwrap_or((&text[1..], ""));
    let inner = inner.strip_suffix('}').unwrap_or(inner).replace(' ', "");
    let command = match command {
        "bar" | "overline" => "bar",
        "vec" | "overrightarrow" => "vec",
        "tilde" | "widetilde" => "tilde",
        other if other.contains("text") || other.contains("mbox") => return inner.replace(['(', ')'], ""),
        other if other.contains("math") => "math",
        other => other,
    };
    format!("{command}{{{inner}}}")
}

/// The name of a Greek letter, by command or character.
fn greek_name(text: &str) -> Option<&'static str> {
    Some(match text {
        "α" | "\\alpha" => "alpha",
        "β" | "\\beta" => "beta",
        "γ" | "\\gamma" => "gamma",
        "Γ" | "\\Gamma" => "Gamma",
        "δ" | "\\delta" => "delta",
        "Δ" | "\\Delta" => "Delta",
        "ε" | "\\epsilon" => "epsilon",
        "ϵ" | "\\varepsilon" => "varepsilon",
        "ζ" | "\\zeta" => "zeta",
        "η" | "\\eta" => "eta",
        "θ" | "\\theta" => "theta",
        "Θ" | "\\Theta" => "Theta",
        "ϑ" | "\\vartheta" => "vartheta",
        "ι" | "\\iota" => "iota",
        "κ" | "\\kappa" => "kappa",
        "λ" | "\\lambda" => "lambda",
        "Λ" | "\\Lambda" => "Lambda",
        "μ" | "\\mu" => "mu",
        "ν" | "\\nu" => "nu",
        "ξ" | "\\xi" => "xi",
        "Ξ" | "\\Xi" => "Xi",
        "ο" | "\\omicron" => "omicron",
        "π" | "\\pi" => "pi",
        "Π" | "\\Pi" => "Pi",
        "ϖ" | "\\varpi" => "varpi",
        "ρ" | "\\rho" => "rho",
        "ϱ" | "\\varrho" => "varrho",
        "σ" | "\\sigma" => "sigma",
        "Σ" | "\\Sigma" => "Sigma",
        "ς" | "\\varsigma" => "varsigma",
        "τ" | "\\tau" => "tau",
        "υ" | "\\upsilon" => "upsilon",
        "Υ" | "\\Upsilon" => "Upsilon",
        "φ" | "\\phi" => "phi",
        "Φ" | "\\Phi" => "Phi",
        "ϕ" | "\\varphi" => "varphi",
        "χ" | "\\chi" => "chi",
        "ψ" | "\\psi" => "psi",
        "Ψ" | "\\Psi" => "Psi",
        "ω" | "\\omega" => "omega",
        "Ω" | "\\Omega" => "Omega",
        _ => return None,
    })
}

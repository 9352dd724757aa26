//! The HTML page.

use crate::{
    Analysis, Evaluation, Report, Standing,
    analysis::Example,
    html::escape,
    plots::{self, with_interval},
    scale::short,
    table, theme,
};
use std::fmt::Write;

/// Characters of context shown before a position.
const CONTEXT: usize = 420;

/// A page in the making: sections with their entries in the navigation.
struct Page {
    body: String,
    nav: Vec<(&'static str, &'static str)>,
}

impl Page {
    fn section(&mut self, id: &'static str, short: &'static str, title: &str, intro: &str) {
        if !self.nav.is_empty() {
            self.body.push_str("</section>\n");
        }
        self.nav.push((id, short));
        self.put(format_args!("<section id=\"{id}\"><h2>{title}</h2>\n<p>{intro}</p>\n"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.body.write_fmt(text);
    }

    fn figure(&mut self, svg: &str, caption: &str) {
        self.put(format_args!("<figure>{svg}<figcaption>{caption}</figcaption></figure>\n"));
    }
}

/// The whole document.
pub fn render(report: &Report) -> String {
    let mut page = Page { body: String::new(), nav: Vec::new() };
    if let Some(evaluation) = &report.evaluation {
        evaluation_section(&mut page, evaluation);
    }
    if let Some(analysis) = &report.analysis {
        analysis_sections(&mut page, analysis);
    }
    if !report.training.is_empty() {
        page.section(
            "training",
            "Training",
            "Training",
            "The loss is the KL divergence from the target plus the mass that the network leaves on tokens that the target removed.",
        );
        page.figure(&plots::training(&report.training), "Thin: every step. Bold: exponential mean. Circles: held-out rows, where they were measured. Dashed: what the raw logits score, which is what a network that changes nothing would have.");
    }
    if let Some(graph) = &report.graph {
        page.section(
            "pipeline",
            "Pipeline",
            "How it was made",
            "The stages of the pipeline and what flows between them.",
        );
        page.figure(&plots::pipeline(graph), "");
    }
    if !report.provenance.is_empty() {
        page.section(
            "provenance",
            "Provenance",
            "Provenance",
            "What went in: two runs with the same lines here made the same report.",
        );
        page.body.push_str("<div class=\"table facts\"><table><tbody>\n");
        for fact in &report.provenance {
            page.put(format_args!(
                "<tr><th>{}</th><td class=\"mono\">{}</td></tr>\n",
                escape(&fact.name),
                escape(&fact.value)
            ));
        }
        page.body.push_str("</tbody></table></div>\n");
    }
    if !page.nav.is_empty() {
        page.body.push_str("</section>\n");
    }
    let nav: String =
        page.nav.iter().map(|(id, short)| format!("<a href=\"#{id}\">{short}</a>")).collect::<Vec<_>>().join("\n");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n<header><h1>{title}</h1><p>{subtitle}</p></header>\n\
         {top}<nav>{nav}</nav>\n{body}<footer>Made by lsn. This file is complete in itself: it loads nothing.</footer>\n</main>\n<script>{script}</script>\n</body>\n</html>\n",
        title = escape(&report.title),
        subtitle = escape(&report.subtitle),
        style = theme::page(),
        top = top(report),
        body = page.body,
        script = table::SORTING,
    )
}

/// The answer, what it rests on, and the numbers that matter.
fn top(report: &Report) -> String {
    let mut out = String::new();
    let mut figures: Vec<(String, String, String)> = Vec::new();
    if let Some(evaluation) = &report.evaluation {
        let (answer, lede) = answer(evaluation);
        let _ = write!(out, "<p class=\"answer\">{answer}</p>\n<p class=\"lede\">{lede}</p>\n");
        if let Some((place, of)) = evaluation.place() {
            figures.push((
                "place among samplers".into(),
                format!("{place}<span> of {of}</span>"),
                "by the combined score".into(),
            ));
        }
        if let Some(comparison) = &evaluation.comparison {
            let note = match (comparison.difference.low, comparison.difference.high) {
                (Some(low), Some(high)) => format!("95 % interval {} to {}", signed(low), signed(high)),
                _ => "no interval".to_owned(),
            };
            figures.push(("score, learned − best fixed".into(), signed(comparison.difference.value), note));
        }
    } else if let Some(analysis) = &report.analysis {
        let closed = 100.0 * (1.0 - analysis.learned_kl / analysis.raw_kl);
        let _ = writeln!(
            out,
            "<p class=\"answer\">The learned sampler closes <b>{closed:.0} %</b> of the gap between the raw model and its targets.</p>"
        );
    }
    if let Some(analysis) = &report.analysis {
        figures.push((
            "KL from the target".into(),
            format!("{} nats", short(analysis.learned_kl)),
            format!("raw logits {}", short(analysis.raw_kl)),
        ));
        figures.push((
            "mass on removed tokens".into(),
            format!("{:.1} %", 100.0 * analysis.learned_truncated),
            format!("raw logits {:.1} %", 100.0 * analysis.raw_truncated),
        ));
    }
    if !figures.is_empty() {
        out.push_str("<dl class=\"figures\">");
        for (name, value, note) in figures {
            let _ = write!(out, "<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>");
        }
        out.push_str("</dl>\n");
    }
    out
}

fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", short(value)) } else { short(value) }
}

fn answer(evaluation: &Evaluation) -> (String, String) {
    let prompts = evaluation.prompts.map_or(String::new(), |n| format!(" over {n} held-out prompts"));
    let label = evaluation.column(&evaluation.primary).map_or(evaluation.primary.as_str(), |c| &c.label);
    let Some((comparison, standing)) = evaluation.comparison.as_ref().zip(evaluation.standing()) else {
        return ("No comparison of the learned sampler with a fixed heuristic was made.".to_owned(), String::new());
    };
    let best = format!("<code>{}</code>", escape(&comparison.best_fixed));
    let (answer, meaning) = match standing {
        Standing::Ahead => {
            let every = comparison.against.is_some_and(|[_, undecided, worse]| undecided + worse == 0);
            let whom = if every { "every fixed heuristic, the best of them" } else { "the best fixed heuristic," };
            (
                format!("The learned sampler <b>beats</b> {whom} {best}."),
                "The interval of the difference lies above zero.",
            )
        }
        Standing::Behind => (
            format!("The learned sampler <b>falls short of</b> the best fixed heuristic, {best}."),
            "The interval of the difference lies below zero.",
        ),
        Standing::Level => (
            format!("The learned sampler is <b>level with</b> the best fixed heuristic, {best}."),
            "The interval of the difference holds zero: this evaluation cannot tell them apart.",
        ),
    };
    let all = comparison.against.map_or(String::new(), |[better, undecided, worse]| {
        let all = better + undecided + worse;
        format!(
            " Against all {all} heuristics: better than {better}, undecided against {undecided}, worse than {worse}."
        )
    });
    let lede = format!(
        "Difference in {}: {}{prompts}, paired by prompt. {meaning}{all}",
        escape(&label.to_lowercase()),
        with_interval(comparison.difference)
    );
    (answer, lede)
}

fn evaluation_section(page: &mut Page, evaluation: &Evaluation) {
    page.section(
        "evaluation",
        "Evaluation",
        "Evaluation",
        "Every sampler answered the same held-out prompts and was labelled by the same labellers. Bars and small figures are 95 % bootstrap intervals over prompts.",
    );
    page.figure(
        &plots::ranking(evaluation),
        "Samplers by the metric that decides, best first; the dashed line marks the best fixed heuristic.",
    );
    if let Some(comparison) = &evaluation.comparison {
        let caption = format!(
            "Learned minus <code>{}</code>, paired by prompt. The two are told apart where the interval leaves zero out.",
            escape(&comparison.best_fixed)
        );
        page.figure(&plots::difference(comparison.difference), &caption);
    }
    page.put(format_args!(
        "{}\n<p class=\"note\">Select a column's head to sort by it. Bold: best in its column. Intervals of the other metrics show when the pointer rests on a number.</p>\n",
        table::evaluation(evaluation)
    ));
}

fn analysis_sections(page: &mut Page, analysis: &Analysis) {
    if !analysis.examples.is_empty() {
        page.section(
            "probabilities",
            "Probabilities",
            "What it does to single positions",
            "The most likely tokens at chosen positions, each under the raw model, under the heuristic that it learned from, and under the learned sampler. The highlighted token is the one with which the text goes on.",
        );
        for pair in analysis.examples.chunks(2) {
            page.body.push_str("<div class=\"pair\">");
            pair.iter().for_each(|example| probabilities(page, example));
            page.body.push_str("</div><p></p>\n");
        }
    }
    let counted = format!(
        "Means over {} positions of {} texts, teacher-forced. The target is the heuristic that wrote each text.",
        analysis.positions, analysis.texts
    );
    page.section("behaviour", "Behaviour", "What it does on the whole", &counted);
    page.figure(
        &plots::positions(&analysis.by_position),
        "Divergence from the target and mass left on removed tokens along the reply. Later positions rest on fewer texts.",
    );
    page.body.push_str("<div class=\"pair\">");
    page.figure(
        &plots::transfer(&analysis.transfer),
        "<b>Transfer.</b> What becomes of a token's probability, over all tokens of all positions. On the dashed line nothing changes. Bars: how many tokens of that probability the target removes.",
    );
    page.figure(
        &plots::calibration(&analysis.calibration),
        "<b>Calibration.</b> Of the tokens that a distribution gives the probability on the x axis, the target's mean probability. On the dashed line prediction and target agree.",
    );
    page.body.push_str("</div><p></p><div class=\"pair\">");
    if !analysis.by_pipeline.is_empty() {
        page.figure(
            &plots::imitation(&analysis.by_pipeline),
            "<b>Imitation.</b> The divergence from each heuristic that wrote some of the texts, before (ring) and after (dot) the learned sampler.",
        );
    }
    page.figure(
        &plots::entropy(&analysis.entropy),
        "<b>Entropy.</b> How sharp each distribution is where the raw model is sure (left) and where it is not (right).",
    );
    page.body.push_str("</div>\n");
}

fn probabilities(page: &mut Page, example: &Example) {
    let skip = example.context.chars().count().saturating_sub(CONTEXT);
    let context: String = example.context.chars().skip(skip).collect();
    let chosen = example.candidates.iter().find(|c| c.chosen).map_or("", |c| c.text.as_str());
    let chosen = if chosen.trim().is_empty() { crate::html::visible(chosen) } else { chosen.to_owned() };
    let kl = |value: f64| short(value);
    page.put(format_args!(
        "<figure><div class=\"tag\">{why} <span>· token {position} · <code>{pipeline}</code></span></div>\
         <div class=\"context\"><div>{dots}{context}<mark>{chosen}</mark></div></div>{plot}\
         <figcaption>Entropy {entropy} nats. KL from the target: raw {raw}, learned {learned}.</figcaption></figure>\n",
        why = escape(&example.why),
        position = example.position,
        pipeline = escape(&example.pipeline),
        dots = if skip > 0 { "…" } else { "" },
        context = escape(&context),
        chosen = escape(&chosen),
        plot = plots::probabilities(example),
        entropy = short(example.entropy),
        raw = kl(example.raw_kl),
        learned = kl(example.learned_kl),
    ));
}

//! The report of made-up data: complete, well formed, self-contained.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lsn_report::Report;

fn sample() -> Report {
    serde_json::from_str(include_str!("sample.json")).unwrap()
}

/// Every element that is opened is closed, in order.
fn assert_well_formed(markup: &str) {
    let mut open = Vec::new();
    let mut rest = markup;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if rest.starts_with('!') || rest.starts_with('?') {
            continue;
        }
        let end = rest.find('>').unwrap();
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "before {:.60}", after);
        } else {
            let name = tag.split([' ', '\n']).next().unwrap();
            if tag.ends_with('/') || name == "meta" {
                continue;
            }
            open.push(name);
            if name == "script" || name == "style" {
                rest = &rest[rest.find(&format!("</{name}>")).unwrap()..];
            }
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    let html = sample().to_html();
    assert_well_formed(&html);
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let rest = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!rest.contains(outside), "{outside}");
    }
    for part in ["evaluation", "probabilities", "behaviour", "training", "pipeline", "provenance"] {
        assert!(html.contains(&format!("<section id=\"{part}\">")), "{part}");
    }
    assert!(!html.replace("isNaN", "").contains("NaN"));
}

#[test]
fn every_plot_is_a_file_of_its_own() {
    let plots = sample().plots();
    let names: Vec<&str> = plots.iter().map(|plot| plot.name.as_str()).collect();
    assert_eq!(names[..3], ["ranking", "training", "positions"]);
    for plot in &plots {
        assert_well_formed(&plot.svg);
        assert!(plot.svg.contains("xmlns=") && !plot.svg.contains("NaN") && !plot.svg.contains("inf"), "{}", plot.name);
    }
}

#[test]
fn hostile_text_stays_text() {
    let mut report = sample();
    report.title = "<script>alert(1)</script>".to_owned();
    for candidate in &mut report.analysis.as_mut().unwrap().examples[0].candidates {
        candidate.text = "</text><b onload='x'>\u{0}".to_owned();
    }
    let html = report.to_html();
    assert_well_formed(&html);
    assert!(!html.contains("alert(1)</script>"));
}

#[test]
fn a_report_of_nothing_is_still_a_page() {
    let html = Report { title: "empty".to_owned(), ..Report::default() }.to_html();
    assert_well_formed(&html);
    assert!(Report::default().plots().is_empty());
}

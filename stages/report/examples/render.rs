//! Renders a report from its JSON form: `cargo run -p lsn-report --example render -- report.json report.html`.

use std::{error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: render REPORT.json REPORT.html".into());
    };
    let report: lsn_report::Report = serde_json::from_str(&fs::read_to_string(from)?)?;
    fs::write(to, report.to_html())?;
    Ok(())
}

//! The evaluation table as HTML; a click on a column's head sorts by it.

use crate::{
    Evaluation,
    html::escape,
    scale::{decimals, fixed},
};
use std::fmt::Write;

/// Sorts the rows of a table by the column whose head was clicked.
pub const SORTING: &str = "document.querySelectorAll('table.sortable thead button').forEach(function(button){button.addEventListener('click',function(){\
var head=button.closest('th'),table=head.closest('table'),at=[].indexOf.call(head.parentNode.children,head),body=table.tBodies[0];\
var down=head.getAttribute('aria-sort')!=='descending';if(head.dataset.first==='up'&&!head.hasAttribute('aria-sort'))down=false;\
[].forEach.call(head.parentNode.children,function(other){other.removeAttribute('aria-sort')});head.setAttribute('aria-sort',down?'descending':'ascending');\
[].slice.call(body.rows).sort(function(a,b){a=a.cells[at].dataset.v;b=b.cells[at].dataset.v;var x=parseFloat(a),y=parseFloat(b);\
if(a===''||b==='')return (a==='')-(b==='');var order=isNaN(x)||isNaN(y)?a.localeCompare(b):x-y;return down?-order:order}).forEach(function(row){body.appendChild(row)})})});";

/// The table, best sampler first.
pub fn evaluation(evaluation: &Evaluation) -> String {
    let mut out = String::from(
        "<div class=\"table\"><table class=\"sortable\"><thead><tr><th data-first=\"up\"><button>sampler</button></th>",
    );
    for column in &evaluation.columns {
        let sorted = if column.key == evaluation.primary {
            if column.higher_is_better == Some(false) {
                " aria-sort=\"ascending\""
            } else {
                " aria-sort=\"descending\""
            }
        } else {
            ""
        };
        let first = if column.higher_is_better == Some(false) { " data-first=\"up\"" } else { "" };
        let _ = write!(out, "<th{sorted}{first}><button>{}</button></th>", escape(&column.label));
    }
    out.push_str("</tr></thead><tbody>\n");
    let best: Vec<Option<f64>> = evaluation
        .columns
        .iter()
        .map(|column| {
            let values = evaluation.rows.iter().filter_map(|row| row.values.get(&column.key)).map(|e| e.value);
            match column.higher_is_better {
                Some(true) => values.fold(None, |best: Option<f64>, v| Some(best.map_or(v, |b| b.max(v)))),
                Some(false) => values.fold(None, |best: Option<f64>, v| Some(best.map_or(v, |b| b.min(v)))),
                None => None,
            }
        })
        .collect();
    for row in evaluation.ranked() {
        let class = if row.learned { " class=\"learned\"" } else { "" };
        let name = escape(&row.sampler);
        let _ = write!(out, "<tr{class}><th scope=\"row\" data-v=\"{name}\">{name}</th>");
        for (column, best) in evaluation.columns.iter().zip(&best) {
            let Some(estimate) = row.values.get(&column.key) else {
                out.push_str("<td data-v=\"\">–</td>");
                continue;
            };
            let class = if *best == Some(estimate.value) { " class=\"best\"" } else { "" };
            let digits =
                decimals(evaluation.rows.iter().filter_map(|row| row.values.get(&column.key)).map(|e| e.value));
            let interval = match (estimate.low, estimate.high) {
                (Some(low), Some(high)) => format!("{} to {}", fixed(low, digits), fixed(high, digits)),
                _ => String::new(),
            };
            // Only the metric that decides shows its interval; the others show theirs when the pointer rests on them.
            let (tip, shown) = match (interval.is_empty(), column.key == evaluation.primary) {
                (true, _) => (String::new(), String::new()),
                (false, true) => (String::new(), format!("<small>{interval}</small>")),
                (false, false) => (format!(" title=\"{interval}\""), String::new()),
            };
            let value = fixed(estimate.value, digits);
            let _ = write!(out, "<td{class}{tip} data-v=\"{}\">{value}{shown}</td>", estimate.value);
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>");
    out
}

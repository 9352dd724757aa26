//! Colours and type: one set of names for light, dark and paper.

/// Variables; the dark ones apply where the reader prefers them, never on paper.
const VARIABLES: &str = "
:root{color-scheme:light dark;--paper:#fafaf8;--card:#fff;--ink:#1c2026;--soft:#5d6675;--faint:#8c94a1;--hair:#e5e7eb;--wash:#f3f4f6;
--raw:#8a92a0;--target:#2f66d0;--learned:#dd4f24;--learned-wash:#fdeee8;--good:#1a7f4b;--bad:#b3261e}
@media screen and (prefers-color-scheme:dark){:root{--paper:#121418;--card:#1a1d23;--ink:#e9ebef;--soft:#a4adbb;--faint:#7a8494;--hair:#2b3039;--wash:#22262d;
--raw:#8e97a6;--target:#74a5ff;--learned:#ff8357;--learned-wash:#33221c;--good:#5ccb8f;--bad:#ff8a80}}
";

/// Classes of drawings.
const DRAWING: &str = "
svg{font-family:Inter,ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-variant-numeric:tabular-nums}
svg text{font-size:12px;fill:var(--soft)}svg .t-ink{fill:var(--ink)}svg .t-head{fill:var(--ink);font-size:13px;font-weight:600}
svg .t-small{font-size:11px;fill:var(--faint)}svg .t-learned{fill:var(--learned);font-weight:600}
svg .t-mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12px;fill:var(--ink)}
svg .t-chosen{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12px;fill:var(--ink);font-weight:700}
svg .grid{stroke:var(--hair);stroke-width:1}svg .axis{stroke:var(--faint);stroke-width:1}
svg .rule{stroke:var(--faint);stroke-width:1;stroke-dasharray:3 3;fill:none}
svg .l-raw,svg .l-target,svg .l-learned{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .l-raw{stroke:var(--raw)}svg .l-target{stroke:var(--target)}svg .l-learned{stroke:var(--learned)}
svg .thin{fill:none;stroke:var(--learned);stroke-width:1;opacity:.28}
svg .d-raw{fill:var(--raw)}svg .d-target{fill:var(--target)}svg .d-learned{fill:var(--learned)}
svg .o-raw{fill:var(--card);stroke:var(--raw);stroke-width:2}
svg .o-learned{fill:var(--card);stroke:var(--learned);stroke-width:2}
svg .b-raw{fill:var(--raw);opacity:.18}svg .b-target{fill:var(--target);opacity:.45}svg .b-learned{fill:var(--learned);opacity:.16}
svg .w-learned{fill:var(--learned-wash)}svg .wash{fill:var(--wash)}
svg .i-fixed{stroke:var(--raw);stroke-width:2;stroke-linecap:round}svg .i-learned{stroke:var(--learned);stroke-width:2.5;stroke-linecap:round}
svg .join{stroke:var(--hair);stroke-width:2}
svg .cross{stroke:var(--target);stroke-width:1.6;stroke-linecap:round}
svg .node{fill:var(--card);stroke:var(--hair);stroke-width:1.2}svg .flow{fill:none;stroke:var(--faint);stroke-width:1.2;opacity:.7}
";

/// Classes of the page.
const PAGE: &str = "
*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 Inter,ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1040px;margin:0 auto;padding:56px 24px 96px}
header h1{font-size:15px;font-weight:600;letter-spacing:.01em;margin:0}header p{margin:0;color:var(--soft);font-size:15px}
.answer{margin:44px 0 12px;font-size:clamp(26px,3.6vw,38px);line-height:1.22;font-weight:650;letter-spacing:-.02em;max-width:24em;text-wrap:balance}
.answer b{color:var(--learned);font-weight:inherit}.answer code{font-size:.86em;background:none;padding:0}
.lede{color:var(--soft);max-width:44em;margin:0 0 32px;font-size:17px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:0;border-top:1px solid var(--hair);border-bottom:1px solid var(--hair);margin:0 0 20px}
.figures div{padding:18px 20px 16px 0}.figures dt{font-size:13px;color:var(--soft)}
.figures dd{margin:2px 0 0;font-size:25px;font-weight:600;letter-spacing:-.01em;line-height:1.25}.figures small{display:block;font-size:13px;font-weight:400;color:var(--soft);letter-spacing:0}
nav{display:flex;flex-wrap:wrap;gap:4px 22px;font-size:14px;margin:0 0 8px}nav a{color:var(--soft);text-decoration:none;border-bottom:1px solid transparent}nav a:hover{color:var(--ink);border-color:var(--ink)}
section{padding-top:60px}h2{font-size:24px;letter-spacing:-.015em;line-height:1.3;margin:0 0 6px;font-weight:650}h3{font-size:16px;margin:34px 0 4px;font-weight:650}
section>p,.note{color:var(--soft);max-width:46em;margin:0 0 20px}
figure{margin:0 0 22px;background:var(--card);border:1px solid var(--hair);border-radius:10px;padding:20px 22px 14px;overflow-x:auto}
figure svg{display:block;max-width:100%;height:auto;margin:0 auto}figcaption{font-size:14px;color:var(--soft);margin:8px 0 4px;max-width:54em}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr));gap:20px}.pair figure{margin:0}
code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:.9em}
code{background:var(--wash);border-radius:4px;padding:.1em .35em;overflow-wrap:anywhere}
.context{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:13px;line-height:1.5;background:var(--wash);border-radius:6px;padding:9px 12px;margin:10px 0 12px;white-space:pre-wrap;overflow-wrap:anywhere;max-height:7.2em;overflow:hidden;display:flex;flex-direction:column-reverse}
.context mark{background:var(--learned-wash);color:var(--learned);font-weight:700;border-radius:3px;padding:0 2px}
.tag{font-size:14px;font-weight:600}.tag span{color:var(--soft);font-weight:400}
.table{overflow-x:auto;background:var(--card);border:1px solid var(--hair);border-radius:10px;margin:0 0 22px}
table{border-collapse:collapse;width:100%;font-size:14px}th,td{padding:8px 14px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--hair)}
tbody tr:last-child td,tbody tr:last-child th{border-bottom:0}th:first-child,td:first-child{text-align:left}thead th{color:var(--soft);font-weight:500;font-size:13px;vertical-align:bottom}
thead button{all:unset;cursor:pointer;white-space:nowrap}thead button:focus-visible{outline:2px solid var(--target);outline-offset:3px;border-radius:2px}thead button::after{content:'';display:inline-block;width:1em;color:var(--ink)}
th[aria-sort=ascending] button::after{content:' ↑'}th[aria-sort=descending] button::after{content:' ↓'}th[aria-sort] button{color:var(--ink)}
tbody th{font-weight:400}tr.learned{background:var(--learned-wash)}tr.learned th{color:var(--learned);font-weight:650}td small{color:var(--faint);margin-left:6px;font-size:12px}td.best{font-weight:650}
.facts td{white-space:normal;text-align:left;overflow-wrap:anywhere;vertical-align:top}.facts th{width:1%;color:var(--soft);vertical-align:top}
footer{margin-top:64px;color:var(--faint);font-size:13px}
@media print{body{font-size:11pt;background:#fff}main{max-width:none;padding:0}nav{display:none}section{padding-top:26px}figure,.table,tr{break-inside:avoid}h2,h3{break-after:avoid}.answer{margin-top:18px}}
";

/// The style sheet of the page.
pub fn page() -> String {
    format!("{VARIABLES}{DRAWING}{PAGE}")
}

/// A drawing as a file of its own, with its colours in it.
pub fn standalone(svg: &str) -> String {
    let style = format!("<style>{VARIABLES}{DRAWING}svg{{background:var(--card)}}</style>\n");
    match svg.find('>') {
        Some(end) => {
            let (open, body) = svg.split_at(end + 1);
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{open}\n{style}{body}\n")
        }
        None => svg.to_owned(),
    }
}

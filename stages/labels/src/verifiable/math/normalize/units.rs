//! Units at the end of an answer.

use super::pattern;
use crate::python::strip;
use regex::Regex;
use std::sync::LazyLock;

/// Units that may end an answer, without their plurals.
const UNITS: &str = "integerpoint|feet|sue|digit|pound|meal|edge|student|children ticket|multiple|east|degree|mph|kmph|ft|\
m square| m east|sq m|deg|mile|q .|monkey|prime|ratio|profit of rs|rd|o|gm|p . m|lb|tile|per|dm|lt|gain|ab|way|west|a .|\
b .|c .|d .|e .|f .|g .|h .|t|h|no change|men|soldier|pie|bc|excess|st|inches|noon|cent|by|gal|kmh|c|acre|rise|a . m|th|\
π r 2|sq|mark|l|toy|coin|sq . m|gallon|° f|profit|minw|yr|women|am|pm|hr|cu cm|square|v â € ™|are|rupee|rounds|cubic|cc|\
mtr|s|ohm|number|kmph|day|hour|minute|min|second|man|woman|sec|cube|mt|sq inch|mp|∏ cm ³|hectare|more|sec|unit|cu . m|\
cm 2|rs .|rs|kg|g|month|km|m|cm|mm|apple|liter|loss|yard|pure|year|increase|decrease|d|less|Surface|litre|pi sq m|s .|\
metre|meter|inch";

static UNIT: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(\d|\}}|[\s\x1c-\x1f])[\s\x1c-\x1f]*(?:(?:{UNITS})(?:s|es)?)[\s\x1c-\x1f]*$")));

static UNIT_TEXT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\\(?:text|mbox)\{.*?\})(\^\d|\{\^\d\})?$"));

pub(super) fn without_units(mut text: String) -> String {
    let bare = if text.contains("\\text{") || text.contains("\\mbox{") {
        strip(&UNIT_TEXT.replace(&text, "")).to_owned()
    } else {
        strip(&text).to_owned()
    };
    if !bare.is_empty() {
        text = bare;
    }
    for _ in 0..2 {
        // A unit that does not end in a letter has a space within.
        if !text.contains(' ') && !text.ends_with(char::is_alphabetic) {
            break;
        }
        let shorter = UNIT.replace(&text, "$1");
        if shorter.is_empty() || shorter == text {
            break;
        }
        text = shorter.into_owned();
    }
    text
}

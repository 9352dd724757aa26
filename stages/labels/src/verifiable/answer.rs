//! The part of a reply that answers, without thinking aloud.

/// What is left of a reply after its thinking section, and inside its last `<answer>` element where it has one.
///
/// Everything up to the last `</think>` is dropped. A `<think>` that never closes leaves nothing: the reply ended while
/// thinking. Replies without such tags are returned as they are.
#[must_use]
pub fn final_answer(reply: &str) -> &str {
    let spoken = match reply.rfind("</think>") {
        Some(end) => &reply[end + "</think>".len()..],
        None if reply.trim_start().starts_with("<think>") => "",
        None => reply,
    };
    let Some(open) = spoken.rfind("<answer>") else { return spoken };
    let inside = &spoken[open + "<answer>".len()..];
    inside.find("</answer>").map_or(inside, |close| &inside[..close])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_and_tags_are_peeled_off() {
        assert_eq!(final_answer("plain"), "plain");
        assert_eq!(final_answer("<think>7?</think>\n8"), "\n8");
        assert_eq!(final_answer("a</think><answer>1</answer> or <answer>2</answer>."), "2");
        assert_eq!(final_answer("<answer>cut off"), "cut off");
        assert_eq!(final_answer("<think>never ends <answer>3</answer>"), "");
    }
}

//! A chat template and a conversation, split at NULs: no template may panic, run without end or allocate without bound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lsn_lm::{ChatTemplate, Day, Message};
use std::collections::BTreeMap;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let source = parts.next().unwrap_or_default();
    let variables = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
    let Ok(template) = ChatTemplate::new(source, variables, Day::parse("2024-02-29")) else { return };
    let roles = ["user", "assistant", "system"];
    let messages: Vec<Message> =
        parts.enumerate().map(|(i, content)| Message::new(roles[i % roles.len()], content)).collect();
    let rendered = template.render(&messages, messages.len() % 2 == 1, &BTreeMap::new());
    if let Ok(prompt) = rendered {
        assert!(prompt.len() < 100 << 20, "{} bytes", prompt.len());
    }
});

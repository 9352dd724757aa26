//! Colour on terminals; never the only carrier of a meaning.

use clap::ColorChoice;
use std::{
    fmt,
    io::IsTerminal,
    sync::atomic::{AtomicBool, Ordering},
};

static COLOUR: AtomicBool = AtomicBool::new(false);

/// Decides once whether to use colour: as told, else if stderr is a terminal and `NO_COLOR` is not set.
pub fn choose(choice: ColorChoice) {
    let colour = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            std::io::stderr().is_terminal()
                && std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    };
    COLOUR.store(colour, Ordering::Relaxed);
}

/// Text with an ANSI style, or plain where colour is off.
#[derive(Debug, Clone, Copy)]
pub struct Style<T> {
    code: &'static str,
    text: T,
}

impl<T: fmt::Display> Style<T> {
    pub fn error(text: T) -> Self {
        Self { code: "1;31", text }
    }

    pub fn warning(text: T) -> Self {
        Self { code: "1;33", text }
    }

    pub fn hint(text: T) -> Self {
        Self { code: "1;36", text }
    }

    pub fn good(text: T) -> Self {
        Self { code: "32", text }
    }

    pub fn strong(text: T) -> Self {
        Self { code: "1", text }
    }

    pub fn faint(text: T) -> Self {
        Self { code: "2", text }
    }
}

impl<T: fmt::Display> fmt::Display for Style<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if COLOUR.load(Ordering::Relaxed) {
            write!(f, "\x1b[{}m", self.code)?;
            self.text.fmt(f)?;
            f.write_str("\x1b[0m")
        } else {
            self.text.fmt(f)
        }
    }
}

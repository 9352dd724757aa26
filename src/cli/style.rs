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

/// Whether colour is used.
#[must_use]
pub fn is_on() -> bool {
    COLOUR.load(Ordering::Relaxed)
}

/// Columns of the terminal, or of a page where there is none.
#[must_use]
pub fn width() -> usize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is valid for writes for the duration of the call, and the request writes a `winsize`.
    let known = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &raw mut size) } == 0;
    let columns = if known { usize::from(size.ws_col) } else { 0 };
    if columns == 0 { 100 } else { columns.clamp(40, 140) }
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

//! The terminal that the bar draws on.

use std::{
    fmt, io,
    sync::{Mutex, PoisonError},
};

use console::Term;
use indicatif::TermLike;

/// Standard error, without blanks at the end of the last row of a frame.
///
/// indicatif fills each row with blanks up to the edge, even the last row. Anything that the terminal then writes
/// itself, such as `^C` for a typed Ctrl-C, goes to a row behind the frame. indicatif takes the frame for one row lower
/// than it is, and never clears its first row. Without the last blanks, `^C` goes to the last row and is cleared with
/// it.
pub(crate) struct Tty {
    term: Term,
    /// Blanks that are only written when something follows.
    blanks: Mutex<String>,
}

impl Tty {
    pub(crate) fn new() -> Self {
        Self { term: Term::buffered_stderr(), blanks: Mutex::default() }
    }

    fn take_blanks(&self) -> String {
        std::mem::take(&mut *self.blanks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The width of the terminal in columns.
pub(crate) fn width() -> usize {
    usize::from(Term::stderr().size().1)
}

impl fmt::Debug for Tty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tty")
    }
}

impl TermLike for Tty {
    fn width(&self) -> u16 {
        self.term.size().1
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.term.write_line(&format!("{}{text}", self.take_blanks()))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        if text.bytes().all(|byte| byte == b' ') {
            self.blanks.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
            return Ok(());
        }
        self.term.write_str(&format!("{}{text}", self.take_blanks()))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.term.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        drop(self.take_blanks());
        self.term.flush()
    }
}

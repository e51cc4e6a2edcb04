//! Words for whoever started the program. In: a result, or the words of a command. Out: a line on
//! stdout or stderr, or a line that a shell takes as it is printed. A reader that has seen enough
//! and is gone, as with `| head`, is no error; a full disk is one, never a panic.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{ErrorKind, Write, stderr, stdout};

use crate::error::{Error, one_line};
use crate::store::why_unwritable;

/// Prints `text` and a line end on stdout.
///
/// # Errors
/// If stdout cannot be written, unless its reader is gone.
pub fn say(text: impl Display) -> Result<(), Error> {
    match writeln!(stdout(), "{text}").and_then(|()| stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::Unwritable { path: "stdout".into(), why: why_unwritable(&error) })
        }
        _ => Ok(()),
    }
}

/// Prints `text` as one line on stderr, if anybody reads it. Names in it may be a stranger's: what would
/// break the line, or speak to the terminal, becomes a blank.
pub fn tell(text: impl Display) {
    let _ = writeln!(stderr(), "{}", line_of(text));
}

fn line_of(text: impl Display) -> String {
    one_line(&text.to_string(), usize::MAX)
}

/// A number of things whose name takes an `s`.
pub fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `words` as one line that a shell splits into the same words. Bytes that are no UTF-8 are lost.
pub fn shell_line(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let words = words.into_iter().map(|word| quoted(&word.as_ref().to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_name_neither_breaks_a_line_nor_speaks_to_the_terminal() {
        assert_eq!(line_of("fo\no \u{1b}[31mü\u{7}"), "fo o  [31mü ");
    }

    #[test]
    fn only_words_that_a_shell_would_take_apart_are_quoted() {
        let words = ["filo", "--input=/süß/a.png", "two words", "$HOME", "it's", ""];
        let line = r"filo --input=/süß/a.png 'two words' '$HOME' 'it'\''s' ''";
        assert_eq!(shell_line(words), line);
    }
}

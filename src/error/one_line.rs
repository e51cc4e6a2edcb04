//! Words of a stranger's file on their way into a message. In: text of any length. Out: one short line.

/// The first `most` characters, without line breaks and other signs that are not shown.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short = clean.clone().take(most).collect::<String>();
    if clean.count() > most {
        short.push('…');
    }
    short
}

/// The first few names, and how many more there are.
pub(super) fn first_names(names: &[String], separator: &str) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).map(|name| one_line(name, 200)).collect::<Vec<_>>();
    let shown = shown.join(separator);
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short_and_one() {
        assert_eq!(one_line("a\nb\r\u{85}\0c", 40), "a b   c");
        assert_eq!(one_line(&"ä".repeat(100), 40).chars().count(), 41);
        assert_eq!(one_line("whole", 5), "whole");
    }
}

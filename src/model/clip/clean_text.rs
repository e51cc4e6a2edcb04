//! Text as CLIP's tokenizer wants it. In: any string. Out: the same text with its encoding
//! accidents repaired, entities resolved, white space folded and letters lower-cased.
//! The rules are those of ftfy's `fix_text` (which published FiLo calls) as documented; rarer
//! guesses of ftfy (other code pages, lost bytes) are not made. Nothing here knows a token.

mod mojibake;

use std::borrow::Cow;

use html_escape::decode_html_entities;
use unicode_normalization::UnicodeNormalization;

/// Cleans `text`: repair line by line, HTML entities twice, white space to single spaces, lower
/// case. The result has no white space at its ends. Entities need their semicolon.
pub fn clean_text(text: &str) -> String {
    let repaired: Vec<String> = text.split('\n').map(repair_line).collect();
    let repaired = repaired.join("\n");
    let unescaped = decode_html_entities(&repaired);
    let unescaped = decode_html_entities(&unescaped);
    unescaped.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Repeats the repair until nothing changes, since one accident may hide another. It ends: every
/// step shortens the text or takes away characters that no step puts back.
fn repair_line(line: &str) -> String {
    let entities = Entities::of(line);
    let mut text = line.to_string();
    loop {
        let repaired = repair_once(&text, entities);
        if repaired == text {
            return text;
        }
        text = repaired;
    }
}

fn repair_once(text: &str, entities: Entities) -> String {
    let unescaped = match entities {
        Entities::Resolve => decode_html_entities(text),
        Entities::Keep => Cow::Borrowed(text),
    };
    let decoded = mojibake::decode_misread_utf8(&unescaped);
    let shown: String = decoded
        .chars()
        .map(mojibake::control_as_windows_1252)
        .flat_map(plain_form)
        .map(straight_quote)
        .collect();
    without_terminal_escapes(&shown).chars().filter(|&c| !is_invisible_control(c)).nfc().collect()
}

/// Whether the repair resolves entities.
#[derive(Debug, Clone, Copy)]
enum Entities {
    Resolve,
    /// A line with `<` may be markup, in which an entity stands for itself.
    Keep,
}

impl Entities {
    fn of(line: &str) -> Self {
        if line.contains('<') { Entities::Keep } else { Entities::Resolve }
    }
}

/// Latin ligatures and digraphs as their letters, full-width forms as ordinary ones, half-width
/// forms as full ones. Superscripts and other compatibility characters carry meaning and stay.
fn plain_form(c: char) -> impl Iterator<Item = char> {
    let ligature = matches!(c, '\u{132}' | '\u{133}' | '\u{149}' | '\u{1c4}'..='\u{1cc}'
        | '\u{1f1}'..='\u{1f3}' | '\u{fb00}'..='\u{fb04}' | '\u{fb06}');
    let width = matches!(c, '\u{3000}' | '\u{ff01}'..='\u{ffee}');
    let long_s_t = c == '\u{fb05}';
    let kept = (!ligature && !width && !long_s_t).then_some(c);
    let plain = (ligature || width).then_some(c).into_iter().nfkc();
    kept.into_iter().chain(plain).chain(long_s_t.then_some(['ſ', 't']).into_iter().flatten())
}

fn straight_quote(c: char) -> char {
    match c {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => '\'',
        '\u{201c}'..='\u{201f}' => '"',
        other => other,
    }
}

/// Removes colour and cursor commands: ESC, `[`, digits and semicolons, one letter.
fn without_terminal_escapes(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut kept = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match rest.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(after) => kept.push_str(after),
            // No command: the lone ESC goes with the other controls.
            None => {
                kept.push('[');
                kept.push_str(piece);
            }
        }
    }
    kept
}

/// Control characters that show nothing and separate nothing; tab, line and form feed stay.
fn is_invisible_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}'
        | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_folds_and_letters_become_small() {
        assert_eq!(clean_text("  Metal\u{a0}NUT \n\t x "), "metal nut x");
        assert_eq!(clean_text(""), "");
    }

    #[test]
    fn ligatures_widths_and_quotes_become_plain() {
        assert_eq!(clean_text("ﬁligree ﬅ ǆ ŉ"), "filigree ſt dž 'n");
        assert_eq!(clean_text("１２３ ＜ｂ＞\u{3000}ｶﾞ"), "123 <b> ガ");
        assert_eq!(clean_text("“l’été” – x²"), "\"l'été\" – x²");
    }

    #[test]
    fn entities_are_resolved_however_often_they_were_escaped() {
        assert_eq!(clean_text("&lt;b&gt; &amp;amp; &eacute;"), "<b> & é");
        assert_eq!(clean_text("&amp;amp;lt;"), "<");
    }

    #[test]
    fn beside_markup_an_entity_is_resolved_twice_at_most() {
        assert_eq!(clean_text("<i> &amp;amp;lt;"), "<i> &lt;");
    }

    #[test]
    fn controls_and_terminal_commands_vanish() {
        assert_eq!(clean_text("\u{1b}[1;31mred\u{1b}[0m \u{1b}[!"), "red [!");
        assert_eq!(clean_text("\u{feff}a\0b\u{7}"), "ab");
    }

    #[test]
    fn letters_and_their_accents_are_joined() {
        assert_eq!(clean_text("cafe\u{301}"), "caf\u{e9}");
    }
}

//! Mojibake: UTF-8 that was read as Latin-1 or Windows-1252 ("schÃ¶n"). In: one line. Out: the
//! line with every such sequence decoded. A sequence that could as well be ordinary text ("CAFÉ®",
//! "Straß…") is left alone: an odd character costs less than a wrong one.

/// One character that was read as several.
struct Sequence {
    /// Index of its first character in the line.
    start: usize,
    /// Index after its last.
    end: usize,
    decoded: char,
}

/// Decodes what is plausibly misread UTF-8, layer by layer: text may have been misread twice.
pub(super) fn decode_misread_utf8(line: &str) -> String {
    let mut chars: Vec<char> = line.chars().collect();
    // Ends, since every layer is shorter.
    while let Some(decoded) = decode_layer(&chars) {
        chars = decoded;
    }
    chars.into_iter().collect()
}

/// `None` if nothing is to be decoded. Sequences in a row leave no doubt, and then none in the
/// line is doubted.
fn decode_layer(chars: &[char]) -> Option<Vec<char>> {
    let mut sequences = find_sequences(chars);
    if !sequences.windows(2).any(|pair| pair[0].end == pair[1].start) {
        sequences.retain(|sequence| is_plausible(sequence, chars));
    }
    sequences.first()?;
    let mut decoded = Vec::with_capacity(chars.len());
    let mut done = 0;
    for sequence in &sequences {
        decoded.extend(&chars[done..sequence.start]);
        decoded.push(sequence.decoded);
        done = sequence.end;
    }
    decoded.extend(&chars[done..]);
    Some(decoded)
}

fn find_sequences(chars: &[char]) -> Vec<Sequence> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < chars.len() {
        match sequence_at(chars, start) {
            Some(sequence) => {
                start = sequence.end;
                found.push(sequence);
            }
            None => start += 1,
        }
    }
    found
}

fn sequence_at(chars: &[char], start: usize) -> Option<Sequence> {
    let length = match windows_1252_byte(chars[start])? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let end = start + length;
    let bytes: Option<Vec<u8>> =
        chars.get(start..end)?.iter().map(|&c| windows_1252_byte(c)).collect();
    let decoded = std::str::from_utf8(&bytes?).ok()?.chars().next()?;
    Some(Sequence { start, end, decoded })
}

/// Whether a sequence that stands alone is more likely misread than meant.
fn is_plausible(sequence: &Sequence, chars: &[char]) -> bool {
    let rest = &chars[sequence.start + 1..sequence.end];
    // No text means such a control.
    if rest.iter().any(|c| matches!(c, '\u{80}'..='\u{9f}')) {
        return true;
    }
    match (chars[sequence.start], rest.len()) {
        // Every accent of Western Europe comes out as one of these two.
        ('Â' | 'Ã', 1) => true,
        // Central Europe; but "10 Å²" is meant.
        ('Ä' | 'Å', 1) => is_inside_word(sequence, chars),
        // Other alphabets: a word of them has more than one letter, which makes a row.
        (_, 1) => false,
        // An accented letter and two marks of punctuation: the end of a quotation.
        (_, 2) => !rest.iter().all(|&c| ends_words(c)),
        _ => true,
    }
}

/// A capital in the middle of a word is no capital.
fn is_inside_word(sequence: &Sequence, chars: &[char]) -> bool {
    let before = sequence.start.checked_sub(1).map(|i| chars[i]);
    let after = chars.get(sequence.end).copied();
    before.is_some_and(char::is_lowercase) || after.is_some_and(char::is_alphabetic)
}

/// Punctuation that follows a word without a space between.
fn ends_words(c: char) -> bool {
    matches!(c, '…' | '’' | '‘' | '“' | '”' | '–' | '—' | '›' | '‹' | '»' | '«')
}

/// A C1 control is what Windows-1252 text holds where it was read as Latin-1.
pub(super) fn control_as_windows_1252(c: char) -> char {
    match u32::from(c).checked_sub(0x80) {
        Some(row) => WINDOWS_1252.get(row as usize).copied().unwrap_or(c),
        None => c,
    }
}

/// The byte that `c` was read from, in Windows-1252 or, where that has no character, in Latin-1.
fn windows_1252_byte(c: char) -> Option<u8> {
    u8::try_from(u32::from(c))
        .ok()
        .or_else(|| WINDOWS_1252.iter().zip(0x80..).find(|(other, _)| **other == c).map(|(_, b)| b))
}

/// Bytes 0x80 to 0x9f. The five that Windows-1252 leaves open stay controls.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_read_as_windows_1252_or_latin_1_is_decoded() {
        assert_eq!(decode_misread_utf8("schÃ¶n, cÅ“ur, sÄ…"), "schön, cœur, są");
        assert_eq!(decode_misread_utf8("donâ€™t ðŸ˜€"), "don’t 😀");
        assert_eq!(decode_misread_utf8("Ð² Ð¼Ð¸Ñ€Ðµ"), "в мире");
        assert_eq!(decode_misread_utf8("Ã\u{89}t Ñ\u{8f}"), "Ét я");
        assert_eq!(decode_misread_utf8("garÃƒÂ§on, Ã…â€œuvre"), "garçon, œuvre");
    }

    #[test]
    fn ordinary_text_with_accents_stays() {
        for text in ["CAFÉ®", "Straß…", "le café…”", "Ø±0.1 mm", "10 Å²", "MENÜ–", "naïve café"]
        {
            assert_eq!(decode_misread_utf8(text), text);
        }
    }

    #[test]
    fn a_control_becomes_the_character_windows_shows() {
        assert_eq!(control_as_windows_1252('\u{93}'), '“');
        assert_eq!(control_as_windows_1252('\u{81}'), '\u{81}');
        assert_eq!(control_as_windows_1252('ß'), 'ß');
    }
}

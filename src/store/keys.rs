//! Keys that the client below cannot name: with empty parts, `.` or `..`, control characters, white
//! space at their ends. One of them in a page would fail the whole listing. In: the XML of a page,
//! on its way to the client. Out: the same page with such keys in a form that passes; and, after
//! the client, which key that was.

use std::borrow::Cow;
use std::ops::Range;

use object_store::path::Path;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::StoredFile;

/// Stands before a key in the form that passes. For private use, so that no key of a person has it
/// there; one that does is brought into this form as well.
const MARK: char = '\u{F0DD5}';

/// What a listing gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    File(StoredFile),
    /// An object that is there and cannot be asked for.
    Unnamable(UnnamableKey),
}

/// A key that no path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnnamableKey {
    /// Below the place that was listed, as the store has it.
    pub key: String,
    pub bytes: u64,
}

impl UnnamableKey {
    /// The key as a path with sound parts: what is in the way is written `\xNN`.
    pub fn escaped(&self) -> String {
        let parts = self.key.split('/').enumerate().map(|(index, part)| {
            // The slash that ends an empty part is a character of the next one.
            let before = if index > 0 { "/" } else { "" };
            match part {
                "" => format!("{before}\\x2F"),
                "." | ".." => format!("{before}{}", part.replace('.', "\\x2E")),
                part => format!("{before}{}", escaped_part(part)),
            }
        });
        parts.collect::<String>().replace("\\x2F/", "\\x2F")
    }

    /// What is in the way, for a person.
    pub fn why(&self) -> &'static str {
        let has = |what: &dyn Fn(&str) -> bool| self.key.split('/').any(what);
        match () {
            () if self.key.contains(char::is_control) => "the key has a control character",
            () if has(&|part| part == "." || part == "..") => "the key has a part `.` or `..`",
            () if has(&str::is_empty) => "the key has an empty part",
            () => "the key has characters that no path has",
        }
    }
}

fn escaped_part(part: &str) -> String {
    let mut text = String::new();
    for c in part.replace('\\', "\\x5C").chars() {
        match c.is_control() {
            true => c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| text += &format!("\\x{b:02X}")),
            false => text.push(c),
        }
    }
    text
}

/// The page `xml` of a listing below `prefix` (with its `/`), with keys in a form that passes.
pub(super) fn passable<'a>(xml: &'a [u8], prefix: &str) -> Cow<'a, [u8]> {
    let mut changed: Option<Vec<u8>> = None;
    let mut kept = 0;
    for place in keys(xml) {
        let raw = String::from_utf8_lossy(&xml[place.clone()]);
        let key = html_escape::decode_html_entities(raw.as_ref());
        let Some(rest) = key.strip_prefix(prefix).filter(|rest| !is_plain(rest)) else { continue };
        let out = changed.get_or_insert_with(|| Vec::with_capacity(xml.len() + 256));
        out.extend_from_slice(&xml[kept..place.start]);
        let form = format!("{prefix}{MARK}{}", utf8_percent_encode(rest, NON_ALPHANUMERIC));
        out.extend_from_slice(html_escape::encode_text(&form).as_bytes());
        kept = place.end;
    }
    match changed {
        Some(mut out) => {
            out.extend_from_slice(&xml[kept..]);
            Cow::Owned(out)
        }
        None => Cow::Borrowed(xml),
    }
}

/// Whether the client takes this key as it is; the `/` of a folder's marker it drops.
fn is_plain(key: &str) -> bool {
    let as_path = key.strip_suffix('/').unwrap_or(key);
    key.trim() == key
        && !key.starts_with(MARK)
        && !key.contains('\u{FFFD}')
        && Path::parse(key).is_ok_and(|path| path.as_ref() == as_path)
}

/// What the client found, with its own key again.
pub(super) fn listed(file: StoredFile) -> Listed {
    let Some(form) = file.path.strip_prefix(MARK) else { return Listed::File(file) };
    let key = percent_decode_str(form).decode_utf8_lossy().into_owned();
    let same = Path::parse(&key).is_ok_and(|path| path.as_ref() == key);
    match same && !key.contains('\u{FFFD}') {
        true => Listed::File(StoredFile { path: key, ..file }),
        false => Listed::Unnamable(UnnamableKey { key, bytes: file.bytes }),
    }
}

/// Where the texts of the `Key` elements of S3 and Google are, or the `Name` elements of Azure.
fn keys(xml: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let azure = find(xml, b"<EnumerationResults").is_some_and(|start| start < 256);
    let (open, close): (&[u8], &[u8]) = match azure {
        true => (b"<Name>", b"</Name>"),
        false => (b"<Key>", b"</Key>"),
    };
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + find(&xml[at..], open)? + open.len();
        let end = start + find(&xml[start..], close)?;
        at = end + close.len();
        Some(start..end)
    })
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(next) = text[from..].iter().position(|&byte| byte == what[0]) {
        if text[from + next..].starts_with(what) {
            return Some(from + next);
        }
        from += next + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(keys: &[&str]) -> String {
        let keys = keys.iter().map(|key| format!("<Contents><Key>{key}</Key></Contents>"));
        format!(
            "<ListBucketResult><Name>b//c</Name>{}</ListBucketResult>",
            keys.collect::<String>()
        )
    }

    /// What comes out at the other end, the client between left out.
    fn through(page: &str, prefix: &str) -> Vec<Listed> {
        let xml = passable(page.as_bytes(), prefix).into_owned();
        let texts = keys(&xml).map(|place| String::from_utf8(xml[place].to_vec()).unwrap());
        let texts = texts.map(|text| html_escape::decode_html_entities(&text).into_owned());
        let paths = texts.map(|text| {
            let path = Path::parse(text.trim()).unwrap();
            let path = path.as_ref().strip_prefix(prefix).unwrap_or(path.as_ref()).to_owned();
            listed(StoredFile { path, bytes: 1, etag: None })
        });
        paths.collect()
    }

    #[test]
    fn a_page_of_plain_keys_stays_what_it_is() {
        let plain = page(&["a/b c.png", "a/100%25.png", "a/&lt;ü&amp;.png", "a/d/"]);
        assert!(matches!(passable(plain.as_bytes(), "a/"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_odd_key_costs_itself_only() {
        let odd =
            ["a//b.png", "a/../b.png", "./x.png", "/x.png", "a\nb.png", "a&#10;b.png", "a/b//"];
        let escaped = [
            "a/\\x2Fb.png",
            "a/\\x2E\\x2E/b.png",
            "\\x2E/x.png",
            "\\x2Fx.png",
            "a\\x0Ab.png",
            "a\\x0Ab.png",
            "a/b/\\x2F\\x2F",
        ];
        let mut all = odd.to_vec();
        all.push("good.png");
        let found = through(&page(&all), "");
        for (listed, escaped) in found.iter().zip(escaped) {
            let Listed::Unnamable(key) = listed else { panic!("{listed:?}") };
            assert_eq!(key.escaped(), escaped, "{key:?}");
        }
        let good = StoredFile { path: "good.png".to_owned(), bytes: 1, etag: None };
        assert_eq!(found.last(), Some(&Listed::File(good)));
    }

    #[test]
    fn white_space_at_the_ends_is_a_part_of_the_name() {
        let [Listed::File(file)] = &through(&page(&["p/ a.png "]), "p/")[..] else { panic!() };
        assert_eq!(file.path, " a.png ");
    }

    proptest! {
        #[test]
        fn every_key_comes_through_or_is_named(key in "[ -~\\x00-\\x1F./ü\u{F0DD5}&<%]{1,12}") {
            let text = html_escape::encode_text(&key).into_owned();
            let found = through(&page(&[&text]), "");
            match &found[..] {
                [Listed::File(file)] => {
                    let marker = key.strip_suffix('/').unwrap_or(&key);
                    prop_assert!(file.path == key || file.path == marker);
                }
                [Listed::Unnamable(found)] => {
                    prop_assert_eq!(&found.key, &key);
                    let escaped = found.escaped();
                    prop_assert!(!escaped.contains(char::is_control));
                    prop_assert!(escaped.split('/').all(|part| !matches!(part, "" | "." | "..")));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

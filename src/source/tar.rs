//! The layout `webdataset`: tar files in which the files of one picture stand together and share a
//! name up to its first dot: `0001.jpg`, `0001.cls`, `0001.json`, `0001.mask.png`. Bytes of a tar go
//! in, one after the other; pictures with what is known of them come out.
//!
//! The tar is a stranger's: what is wrong with a member costs that member, sizes are bounded, and
//! names are only names. Never here: decoding.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::ops::ControlFlow;

use super::member::{Known, Member, unique};
use super::tree::is_picture;
use crate::error::{Failure, FailureCode, Stage};

/// More than the label of a picture takes.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// What was left out, by ending or reason.
pub type Ignored = BTreeMap<String, usize>;

/// Hands the pictures of a tar to `take`, one after the other, until it wants no more. A file of
/// more than `max_bytes` is not read. A tar that is broken ends with a member that says so.
pub fn read_tar(
    tar: impl Read,
    max_bytes: u64,
    mut take: impl FnMut(Member) -> ControlFlow<()>,
) -> Ignored {
    let mut ignored = Ignored::new();
    let mut archive = tar::Archive::new(tar);
    let mut open = Group::default();
    let mut names = HashSet::new();
    let mut give = |group: Group| match group.member(&mut names) {
        Some(member) => take(member),
        None => ControlFlow::Continue(()),
    };
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => {
            let _ = give(Group::rest(&error));
            return ignored;
        }
    };
    for entry in entries {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let _ = match give(open) {
                    ControlFlow::Continue(()) => give(Group::rest(&error)),
                    stop => stop,
                };
                return ignored;
            }
        };
        let kind = entry.header().entry_type();
        if !kind.is_file() && !kind.is_contiguous() {
            if !kind.is_dir() {
                count(&mut ignored, "(no file)");
            }
            continue;
        }
        let (path, trouble) = name(&entry.path_bytes());
        let (key, ending) = split(&path);
        if key != open.key {
            let next = Group { key: key.to_owned(), ..Group::default() };
            if give(std::mem::replace(&mut open, next)).is_break() {
                return ignored;
            }
        }
        let Some(part) = Part::of(&path, ending) else {
            count(&mut ignored, ending.rsplit('.').next().unwrap_or_default());
            continue;
        };
        if let Some(failure) = trouble {
            open.failure.get_or_insert(failure);
        }
        let (size, most) = (entry.size(), part.most(max_bytes));
        let mut bytes = Vec::new();
        if size > most {
            let what =
                format!("{path} has {size} bytes, more than {most}: cut it into smaller ones");
            open.fail(FailureCode::TooLarge, what);
        } else if let Err(error) = entry.read_to_end(&mut bytes) {
            open.fail(FailureCode::CorruptArchive, format!("{path}: {error}: write the tar again"));
        } else if bytes.len() as u64 != size {
            let what = format!("{path} is cut off: write the tar again");
            open.fail(FailureCode::CorruptArchive, what);
        }
        open.add(part, path, bytes);
    }
    let _ = give(open);
    ignored
}

fn count(ignored: &mut Ignored, reason: &str) {
    let reason = if reason.is_empty() { "(no extension)" } else { reason };
    *ignored.entry(reason.to_owned()).or_default() += 1;
}

/// The files of one picture.
#[derive(Default)]
struct Group {
    /// Their common path, up to the first dot of the name.
    key: String,
    picture: Option<(String, Vec<u8>)>,
    mask: Option<Vec<u8>>,
    of_class: Known,
    of_json: Known,
    failure: Option<Failure>,
}

/// What a file of a picture is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Picture,
    Mask,
    Class,
    Json,
}

impl Part {
    /// By the ending of a name, from its first dot.
    fn of(path: &str, ending: &str) -> Option<Self> {
        match ending {
            "cls" => Some(Part::Class),
            "json" => Some(Part::Json),
            _ if ending.starts_with("mask.") && is_picture(path) => Some(Part::Mask),
            _ if is_picture(path) => Some(Part::Picture),
            _ => None,
        }
    }

    /// How many bytes it may have.
    fn most(self, of_pictures: u64) -> u64 {
        match self {
            Part::Picture | Part::Mask => of_pictures,
            Part::Class | Part::Json => MAX_TEXT_BYTES,
        }
    }
}

impl Group {
    /// What stands for all that a broken tar would have had.
    fn rest(error: &std::io::Error) -> Self {
        let what = format!("the tar is broken or cut off ({error}): write it again");
        let mut rest = Group { key: "(rest)".to_owned(), ..Group::default() };
        rest.fail(FailureCode::CorruptArchive, what);
        rest
    }

    /// Notes what is wrong, if nothing was yet.
    fn fail(&mut self, code: FailureCode, what: String) {
        self.failure.get_or_insert(Failure::new(Stage::Fetch, code, what));
    }

    fn add(&mut self, part: Part, path: String, bytes: Vec<u8>) {
        match part {
            Part::Picture if self.picture.is_some() => {
                let what = format!("{path}: a second picture called {}: rename one", self.key);
                self.fail(FailureCode::DuplicateName, what);
            }
            Part::Picture => self.picture = Some((path, bytes)),
            Part::Mask => self.mask = Some(bytes),
            Part::Class => match std::str::from_utf8(&bytes) {
                Ok(word) => self.of_class = Known::of_class(word),
                Err(_) => {
                    let what = format!("{path} is no text: write a number or a word");
                    self.fail(FailureCode::CorruptArchive, what);
                }
            },
            Part::Json => match Known::of_json(&bytes) {
                Ok(known) => self.of_json = known,
                Err(error) => {
                    let what = format!("{path}: {error}: correct it");
                    self.fail(FailureCode::CorruptArchive, what);
                }
            },
        }
    }

    /// The picture, if there is one or trouble with one. `names` are those that were given away.
    fn member(self, names: &mut HashSet<String>) -> Option<Member> {
        let Group { key, picture, mask, of_class, of_json, failure } = self;
        let folder = key.split_once('/').map(|(folder, _)| folder.to_owned());
        let (id, picture) = match (picture, failure) {
            (Some((id, bytes)), None) => (id, Ok(bytes)),
            (Some((id, _)), Some(failure)) => (id, Err(failure)),
            (None, Some(failure)) => (key, Err(failure)),
            (None, None) => return None,
        };
        let of_folder = Known { category: folder, ..Known::default() };
        Some(Member {
            id: unique(id, names),
            picture,
            mask,
            known: of_json.or(of_class).or(of_folder),
        })
    }
}

/// The path of a member as text, and what is wrong with it.
fn name(path: &[u8]) -> (String, Option<Failure>) {
    let trouble = |code, what: &str| Some(Failure::new(Stage::Fetch, code, what));
    let Ok(text) = std::str::from_utf8(path) else {
        let why = "the name in the tar is not UTF-8: rename it";
        return (
            String::from_utf8_lossy(path).into_owned(),
            trouble(FailureCode::NonUtf8Name, why),
        );
    };
    let text = text.trim_start_matches("./");
    let leads_out = text.starts_with('/') || text.split('/').any(|part| part == "..");
    let why = "the name in the tar leads out of it: rename it";
    let failure = leads_out.then(|| trouble(FailureCode::CorruptArchive, why)).flatten();
    (text.to_owned(), failure)
}

/// The path up to the first dot of the file's name, and what follows the dot.
fn split(path: &str) -> (&str, &str) {
    let start = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[start..].find('.') {
        Some(dot) => (&path[..start + dot], &path[start + dot + 1..]),
        None => (path, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in [
            ("a/1.png", &b"one"[..]),
            ("a/1.cls", b"crack"),
            ("b/2.jpg", b"two"),
            ("b/2.json", b"{}"),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn members(tar: &[u8]) -> Vec<Member> {
        let mut members = Vec::new();
        read_tar(tar, 1000, |member| {
            members.push(member);
            ControlFlow::Continue(())
        });
        members
    }

    #[test]
    fn files_of_one_name_are_one_picture() {
        let found = members(&small());
        let [one, two] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((one.id.as_str(), &one.picture), ("a/1.png", &Ok(b"one".to_vec())));
        assert_eq!(one.known.kind.as_deref(), Some("crack"));
        assert_eq!((two.known.category.as_deref(), two.known.label), (Some("b"), None));
    }

    #[test]
    fn whoever_wants_no_more_gets_no_more() {
        let mut seen = 0;
        read_tar(small().as_slice(), 1000, |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_large_file_is_not_read() {
        let found = read_limited(2);
        assert_eq!(found, [Some(FailureCode::TooLarge), Some(FailureCode::TooLarge)]);
        assert_eq!(read_limited(3), [None, None]);
    }

    fn read_limited(max_bytes: u64) -> Vec<Option<FailureCode>> {
        let mut codes = Vec::new();
        read_tar(small().as_slice(), max_bytes, |member| {
            codes.push(member.picture.err().map(|failure| failure.code));
            ControlFlow::Continue(())
        });
        codes
    }

    #[test]
    fn damage_anywhere_gives_no_panic_and_no_picture_too_many() {
        let whole = small();
        for at in 0..whole.len() {
            assert!(members(&whole[..at]).len() <= 3);
            let mut flipped = whole.clone();
            for bit in [1, 0x80] {
                flipped[at] ^= bit;
                assert!(members(&flipped).len() <= 5, "byte {at}");
            }
        }
    }
}

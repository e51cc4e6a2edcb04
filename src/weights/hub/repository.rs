//! What a hub says of a repository: its commit, its licence, and of each file size and digest. In: its
//! documents, JSON from a stranger. Out: what was understood of them; the rest is not looked at.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Hub;
use super::digest::{Digest, is_hex};
use super::tries::Ending;
use crate::error::{HubError, one_line};
use crate::weights::convert::Observer;

/// Characters of a licence that are shown and kept.
const MAX_LICENCE: usize = 100;

/// A repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `owner/name`.
    pub name: String,
    /// Hexadecimal: whatever changes later, files of this commit stay what they are.
    pub commit: String,
    /// What its page states; nothing is concluded from anything else.
    pub licence: Option<String>,
    pub files: Vec<HubFile>,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// Relative to the repository, `/` between folders.
    pub path: String,
    pub bytes: u64,
    pub digest: Digest,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(rename = "cardData", default)]
    card: Value,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type", default)]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Repository {
    /// Asks the hub for what is in `repository` now.
    ///
    /// # Errors
    /// If it does not answer, has no such repository, or says what cannot be understood.
    pub fn of(hub: &Hub, repository: &str, observer: &dyn Observer) -> Result<Self, Ending> {
        let what = format!("{}/{repository}", hub.address());
        let page = |words: &[&str]| {
            hub.url(
                ["api", "models"].into_iter().chain(repository.split('/')).chain(words.to_vec()),
            )
        };
        let info = hub.document(&page(&[]), &what, observer)?;
        let (commit, licence) = info_of(&info, &what)?;
        let mut url = page(&["tree", &commit]);
        url.set_query(Some("recursive=true"));
        let tree = hub.document(&url, &what, observer)?;
        let files = files_of(&tree, &what)?;
        Ok(Repository { name: repository.to_owned(), commit, licence, files })
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&HubFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn parsed<T: DeserializeOwned>(document: &[u8], what: &str) -> Result<T, HubError> {
    serde_json::from_slice(document).map_err(|error| odd(what, error.to_string()))
}

fn odd(what: &str, why: String) -> HubError {
    HubError::Odd { what: what.to_owned(), why }
}

/// Commit and licence.
fn info_of(document: &[u8], what: &str) -> Result<(String, Option<String>), HubError> {
    let info: Info = parsed(document, what)?;
    // It becomes a part of addresses.
    if !is_hex(&info.sha, 40) {
        return Err(odd(what, "its commit is none".to_owned()));
    }
    Ok((info.sha, licence_of(&info.card)))
}

/// The licence as the page states it: a name, several, or one of its own.
fn licence_of(card: &Value) -> Option<String> {
    let named = |key: &str| match &card[key] {
        Value::String(name) => Some(name.clone()),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).collect::<Vec<_>>();
            Some(names.join(", "))
        }
        _ => None,
    };
    let licence = named("license").filter(|name| !name.trim().is_empty())?;
    let licence = match named("license_name").or_else(|| named("license_link")) {
        Some(own) if licence == "other" => format!("other: {own}"),
        _ => licence,
    };
    Some(one_line(licence.trim(), MAX_LICENCE))
}

/// All files that have a size and a digest.
fn files_of(document: &[u8], what: &str) -> Result<Vec<HubFile>, HubError> {
    let entries: Vec<Entry> = parsed(document, what)?;
    let files = entries.into_iter().filter(|entry| entry.kind == "file").filter_map(|entry| {
        let (bytes, digest) = match entry.lfs {
            Some(lfs) => (lfs.size, Digest::sha256(&lfs.oid)?),
            None => (entry.size, Digest::git_blob(&entry.oid)?),
        };
        Some(HubFile { path: entry.path, bytes, digest })
    });
    Ok(files.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_licence_is_what_the_page_states_and_nothing_is_guessed() {
        let of = |card: Value| {
            let info = json!({ "sha": COMMIT, "cardData": card, "tags": ["license:mit"] });
            info_of(info.to_string().as_bytes(), "r").unwrap().1
        };
        let licence = |text: &str| Some(text.to_owned());
        assert_eq!(of(json!({ "license": "apache-2.0" })), licence("apache-2.0"));
        assert_eq!(of(json!({ "license": ["mit", "cc-by-4.0"] })), licence("mit, cc-by-4.0"));
        let own = json!({ "license": "other", "license_name": "of-the-lab" });
        assert_eq!(of(own), licence("other: of-the-lab"));
        assert_eq!(of(json!({ "license": "a\nb\u{1b}[31m" })), licence("a b [31m"));
        assert_eq!(of(json!({ "license": "x".repeat(500) })).unwrap().chars().count(), 101);
        for none in [json!(null), json!({}), json!({ "license": " " }), json!({ "license": 7 })] {
            assert_eq!(of(none), None);
        }
        let without = json!({ "sha": COMMIT }).to_string();
        assert_eq!(info_of(without.as_bytes(), "r").unwrap(), (COMMIT.to_owned(), None));
    }

    #[test]
    fn a_commit_that_would_lead_elsewhere_is_refused() {
        for sha in ["main", "../../../x", "", &"g".repeat(40)] {
            let info = json!({ "sha": sha }).to_string();
            assert!(info_of(info.as_bytes(), "r").is_err(), "{sha}");
        }
        assert!(info_of(b"<html>", "r").is_err());
    }

    #[test]
    fn a_file_is_listed_with_what_it_can_be_held_against() {
        let tree = json!([
            { "type": "directory", "oid": COMMIT, "size": 0, "path": "figs" },
            { "type": "file", "oid": COMMIT, "size": 2, "path": "README.md" },
            { "type": "file", "oid": COMMIT, "size": 130, "path": "big.pth",
              "lfs": { "oid": "a".repeat(64), "size": 5_000_000_000u64, "pointerSize": 135 } },
            { "type": "file", "oid": "short", "size": 2, "path": "odd" },
            { "type": "file", "oid": COMMIT, "size": 2, "path": "odd.pth",
              "lfs": { "oid": COMMIT, "size": 2 } },
        ]);
        let files = files_of(tree.to_string().as_bytes(), "r").unwrap();
        let file = |path: &str, bytes, digest| HubFile { path: path.to_owned(), bytes, digest };
        let digests = [Digest::git_blob(COMMIT), Digest::sha256(&"a".repeat(64))];
        let [blob, sha256] = digests.map(Option::unwrap);
        let expected = [file("README.md", 2, blob), file("big.pth", 5_000_000_000, sha256)];
        assert_eq!(files, expected);
        for odd in ["{}", "[{}]", r#"[{"type":"file","path":"a","size":-1}]"#, "<html>"] {
            assert!(files_of(odd.as_bytes(), "r").is_err(), "{odd}");
        }
    }
}

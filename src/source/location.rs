//! A URI as a user writes it goes in, a [`Location`] that this version can open comes out.
//! Only local disks for now; a store that is not built in is named in the error.
//! Never here: reading anything, and printing a password ([`redact`] stands before every message).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::error::SourceError;

/// The stores that the job spec promises and this version cannot open.
const STORES_TO_COME: [&str; 5] = ["s3", "gs", "az", "http", "https"];

/// A place to read from or to write to: today a path on a local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    uri: String,
    path: PathBuf,
}

impl Location {
    /// A location from a path that is already at hand, such as an argument that is no UTF-8.
    pub fn local(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Location { uri: redact(&path.to_string_lossy()), path }
    }

    /// The path on the local disk, relative if the user wrote it so.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the user wrote, without credentials.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

impl FromStr for Location {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let uri = redact(text);
        if text.is_empty() {
            return Err(SourceError::BadUri { uri, why: "an empty path" });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Location { uri, path: PathBuf::from(text) });
        };
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "file" {
            return Ok(Location { path: path_of_file_uri(rest, &uri)?, uri });
        }
        if STORES_TO_COME.contains(&scheme.as_str()) {
            return Err(SourceError::NotBuiltIn { uri, scheme });
        }
        Err(SourceError::BadUri { uri, why: "an unknown kind of URI" })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl serde::Serialize for Location {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.uri)
    }
}

/// `rest` is what follows `file://`: an empty host or `localhost`, then an absolute path.
fn path_of_file_uri(rest: &str, uri: &str) -> Result<PathBuf, SourceError> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        let why = "a file:// URI that names another machine";
        return Err(SourceError::BadUri { uri: uri.to_owned(), why });
    }
    let decoded = percent_decode_str(path).decode_utf8();
    let why = "a file:// URI with broken percent-encoding";
    let path = decoded.map_err(|_| SourceError::BadUri { uri: uri.to_owned(), why })?;
    Ok(PathBuf::from(path.as_ref()))
}

/// `uri` with its user name, password and query replaced by `***`, fit for a log line.
///
/// Secret keys may hold a `/`, so a `:` before an `@` hides everything up to that `@`. Hiding too
/// much is harmless; hiding too little is not.
pub fn redact(uri: &str) -> String {
    let (scheme, rest) = match uri.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, uri),
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let secret_end = match (scheme, rest.rfind('@')) {
        (Some("file"), _) | (_, None) => None,
        (Some(_), Some(at)) if rest[..at].contains(':') => Some(at),
        (Some(_), Some(_)) => rest[..authority_end].rfind('@'),
        (None, Some(_)) => rest[..authority_end].rfind('@').filter(|&at| rest[..at].contains(':')),
    };
    let shown = secret_end.map_or(rest.to_owned(), |at| format!("***{}", &rest[at..]));
    match scheme {
        None => shown,
        Some(scheme) => match shown.split_once('?').filter(|_| scheme != "file") {
            Some((path, _)) => format!("{scheme}://{path}?***"),
            None => format!("{scheme}://{shown}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_and_a_file_uri_name_the_same_folder() {
        let plain: Location = "/data/line 1".parse().unwrap();
        let uri: Location = "file:///data/line%201".parse().unwrap();
        assert_eq!(plain.path(), Path::new("/data/line 1"));
        assert_eq!(uri.path(), plain.path());
        let local: Location = "file://localhost/data".parse().unwrap();
        assert_eq!(local.path(), Path::new("/data"));
    }

    #[test]
    fn an_object_store_is_refused_by_name_until_it_is_built_in() {
        for uri in ["s3://bucket/a", "gs://bucket/a", "az://box/a"] {
            let error = uri.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(uri) && error.contains("not built into"), "{error}");
        }
    }

    #[test]
    fn a_uri_of_another_kind_or_machine_is_refused() {
        for uri in ["ftp://host/a", "file://server/a", "file:///a%FF", ""] {
            let error = uri.parse::<Location>().unwrap_err();
            assert!(matches!(error, SourceError::BadUri { .. }), "{error}");
        }
    }

    #[test]
    fn no_message_shows_a_password() {
        let cases = [
            ("s3://user:pass@bucket/a", "s3://***@bucket/a"),
            ("s3://key:se/cr@et@bucket/a", "s3://***@bucket/a"),
            ("https://token@host/a?sig=secret", "https://***@host/a?***"),
            ("user:pass@host/a", "***@host/a"),
            ("s3://bucket/a@b", "s3://bucket/a@b"),
            ("/data/a:b@c", "/data/a:b@c"),
            ("file:///data/a:b@c?d", "file:///data/a:b@c?d"),
        ];
        for (uri, shown) in cases {
            assert_eq!(redact(uri), shown);
        }
        let error = "s3://user:pass@bucket/a".parse::<Location>().unwrap_err();
        assert!(!error.to_string().contains("pass"), "{error}");
    }
}

//! A URI as a user writes it goes in, a [`Location`] comes out: a path on a disk, or a prefix in a
//! bucket of S3, Google or Azure.
//! Never here: reading anything, and printing a password ([`redact`] stands before every message).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::error::SourceError;

/// A place to read from or to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    uri: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Disk(PathBuf),
    Bucket(Bucket),
}

/// A prefix in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub kind: BucketKind,
    pub name: String,
    /// Without `/` at its ends; empty for the whole bucket.
    pub prefix: String,
}

/// Whose bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketKind {
    S3,
    Google,
    Azure,
}

impl BucketKind {
    const ALL: [BucketKind; 3] = [BucketKind::S3, BucketKind::Google, BucketKind::Azure];

    /// What stands before `://`.
    pub fn scheme(self) -> &'static str {
        match self {
            BucketKind::S3 => "s3",
            BucketKind::Google => "gs",
            BucketKind::Azure => "az",
        }
    }

    fn of_scheme(scheme: &str) -> Option<Self> {
        BucketKind::ALL.into_iter().find(|kind| kind.scheme() == scheme)
    }
}

impl Location {
    /// A location from a path that is already at hand, such as an argument that is no UTF-8.
    pub fn local(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Location { uri: redact(&path.to_string_lossy()), place: Place::Disk(path) }
    }

    /// The path if it is on a disk, relative if the user wrote it so.
    pub fn disk(&self) -> Option<&Path> {
        match &self.place {
            Place::Disk(path) => Some(path),
            Place::Bucket(_) => None,
        }
    }

    /// The bucket if it is in one.
    pub fn bucket(&self) -> Option<&Bucket> {
        match &self.place {
            Place::Disk(_) => None,
            Place::Bucket(bucket) => Some(bucket),
        }
    }

    /// Another prefix of the same bucket; a path on a disk stays what it is.
    pub fn with_prefix(&self, prefix: &str) -> Self {
        let Place::Bucket(bucket) = &self.place else { return self.clone() };
        let bucket = Bucket { prefix: prefix.to_owned(), ..bucket.clone() };
        let uri = format!("{}://{}/{prefix}", bucket.kind.scheme(), bucket.name);
        Location { uri, place: Place::Bucket(bucket) }
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
        let bad = |why| Err(SourceError::BadUri { uri: uri.clone(), why });
        if text.is_empty() {
            return bad("an empty path");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Location { uri, place: Place::Disk(PathBuf::from(text)) });
        };
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "file" {
            return Ok(Location { place: Place::Disk(path_of_file_uri(rest, &uri)?), uri });
        }
        let Some(kind) = BucketKind::of_scheme(&scheme) else {
            return bad("an unknown kind of URI");
        };
        // A key may hold any of these, a command line should not hold credentials.
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.contains(['@', ':']) {
            return bad("a URI with credentials, which belong into the store's variables (AWS_…)");
        }
        if name.is_empty() || name.starts_with(['?', '#']) {
            return bad("a URI without the name of a bucket");
        }
        if !is_bucket_name(name) {
            return bad("a bucket name with characters that no bucket's name has");
        }
        let prefix = prefix.trim_matches('/');
        let hollow = |part: &str| part.is_empty() || part == "." || part == "..";
        if !prefix.is_empty() && prefix.split('/').any(hollow) {
            return bad("a prefix with an empty part, `.` or `..`");
        }
        if prefix.contains(|c: char| c.is_ascii_control()) {
            return bad("a prefix with a control character");
        }
        let (name, prefix) = (name.to_owned(), prefix.to_owned());
        Ok(Location { uri, place: Place::Bucket(Bucket { kind, name, prefix }) })
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

/// Whether a store could have given this name: it becomes a part of an address. `$` is Azure's.
fn is_bucket_name(name: &str) -> bool {
    let of_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '$');
    name.chars().all(of_names) && !name.starts_with('.') && !name.ends_with('.')
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
        assert_eq!(plain.disk(), Some(Path::new("/data/line 1")));
        assert_eq!(uri.disk(), plain.disk());
        let local: Location = "file://localhost/data".parse().unwrap();
        assert_eq!(local.disk(), Some(Path::new("/data")));
    }

    #[test]
    fn a_bucket_and_a_prefix_are_told_apart() {
        let cases = [
            ("s3://box/a/b c/", BucketKind::S3, "a/b c"),
            ("GS://box", BucketKind::Google, ""),
            ("az://box/a@b?c#d", BucketKind::Azure, "a@b?c#d"),
        ];
        for (uri, kind, prefix) in cases {
            let location: Location = uri.parse().unwrap();
            let expected = Bucket { kind, name: "box".into(), prefix: prefix.into() };
            assert_eq!((location.bucket(), location.disk()), (Some(&expected), None), "{uri}");
        }
    }

    #[test]
    fn a_uri_of_another_kind_or_machine_is_refused() {
        let prefixes = [
            "s3://",
            "s3:///a",
            "s3://box/a//b",
            "gs://box/../b",
            "s3://b x/a",
            "s3://b?x/a",
            "s3://../a",
            "s3://box/a\nb",
            "s3://bü/a",
        ];
        for uri in prefixes.iter().chain(&["ftp://host/a", "file://server/a", "file:///a%FF", ""]) {
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

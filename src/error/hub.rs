//! Published weights that cannot be fetched.

use std::path::PathBuf;

use super::{WeightsError, one_line};

/// Fetching weights from a hub. Addresses in it have no query, since signatures are there.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// `what` begins with the variable and says what to write.
    #[error("{what}")]
    BadSetting { what: String },
    #[error(
        "{name}: is not in the cache, and HF_HUB_OFFLINE is set: unset it, or copy a bundle of filo weights fetch from another machine to {folder}",
        folder = folder.display()
    )]
    Offline { name: &'static str, folder: PathBuf },
    /// `why` says what to do, too.
    #[error("{what}: cannot be fetched: {why}")]
    NoAnswer { what: String, why: String },
    #[error("{what}: the hub refuses it (status {status}): {hint}", hint = refusal_hint(*with_token))]
    Refused { what: String, status: u16, with_token: bool },
    #[error(
        "{what}: the hub has no such thing: check HF_ENDPOINT; if it was moved, download it by hand and give it to filo weights convert"
    )]
    Missing { what: String },
    #[error(
        "{what}: the hub has had too many requests from here (status 429): wait some minutes and run the same command again, or set HF_TOKEN, which allows more"
    )]
    TooMany { what: String },
    #[error(
        "{what}: is not what a hub answers ({why}): check HF_ENDPOINT, the proxy, and whether a page asks for a login",
        why = one_line(why, 200)
    )]
    Odd { what: String, why: String },
    #[error(
        "{repository} has no {file} any more: download the files by hand and give them to filo weights convert"
    )]
    NoFile { repository: String, file: &'static str },
    #[error(
        "{file}: is not the file that the hub states (its digest is {found}, stated is {stated}), and was removed: run the same command again; if it stays so, the source is not to be trusted, or a proxy changes files"
    )]
    WrongDigest { file: String, stated: String, found: String },
    #[error(
        "{file}: has not the {stated} bytes that the hub states ({found}), and was removed: run the same command again; if it stays so, a proxy changes files"
    )]
    WrongSize { file: String, stated: u64, found: String },
    #[error(
        "{folder}: {needed} are needed for files and bundle, {free} are free: free space{hint}, or set FILO_CACHE to a folder with room",
        folder = folder.display(), needed = gigabytes(*needed), free = gigabytes(*free)
    )]
    NoSpace { folder: PathBuf, needed: u64, free: u64, hint: &'static str },
    /// `why` says what to do, too.
    #[error("{path}: cannot be written: {why}", path = path.display())]
    Unwritable { path: PathBuf, why: String },
    #[error(
        "{name}: is in the cache in {found}: remove {folder} first, or make another bundle of it with filo weights convert --from {folder} --to DIR --precision {wanted}",
        folder = folder.display()
    )]
    OtherPrecision {
        name: &'static str,
        found: &'static str,
        wanted: &'static str,
        folder: PathBuf,
    },
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// What to do about a status of 401 or 403.
fn refusal_hint(with_token: bool) -> &'static str {
    match with_token {
        true => {
            "HF_TOKEN may not read it: is it still valid, and were the terms on its page accepted?"
        }
        false => {
            "if its page asks for a login, accept the terms there and set HF_TOKEN to a token that may read it"
        }
    }
}

impl HubError {
    /// 2 where what was asked for is wrong; 1 where what came of it is.
    pub fn exit_code(&self) -> u8 {
        match self {
            HubError::BadSetting { .. }
            | HubError::Offline { .. }
            | HubError::Refused { .. }
            | HubError::Missing { .. }
            | HubError::NoFile { .. }
            | HubError::OtherPrecision { .. }
            | HubError::Weights(_) => 2,
            HubError::NoAnswer { .. }
            | HubError::TooMany { .. }
            | HubError::Odd { .. }
            | HubError::WrongDigest { .. }
            | HubError::WrongSize { .. }
            | HubError::NoSpace { .. }
            | HubError::Unwritable { .. } => 1,
        }
    }
}

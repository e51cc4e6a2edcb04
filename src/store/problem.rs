//! What went wrong with a store, for a person. In: an error of the system or of a bucket's client.
//! Out: a few words, with what to do where the cause is clear; never a credential.

use std::io::ErrorKind;

use super::connect;
use crate::error::{StoreAction, StoreError};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The error of `action` on the file or place `path`.
pub(super) fn failed(path: &str, action: StoreAction, source: BoxError) -> StoreError {
    let problem = problem_of(source.as_ref());
    StoreError { path: path.to_string(), action, problem, source }
}

/// The cause in a few words, with advice where the system said clearly what is wrong.
fn problem_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = Some(error);
    let mut last = error;
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            match io.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    return "no space left: free space or choose another --output".to_string();
                }
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    return "not permitted: make it writable or choose another folder".to_string();
                }
                ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                    return "a file is where a folder must be: choose another path".to_string();
                }
                ErrorKind::NotFound => return "no such file or folder: check the path".to_string(),
                _ => {}
            }
        }
        if let Some(error) = error.downcast_ref::<object_store::Error>()
            && let Some(problem) = problem_of_bucket(error)
        {
            return problem;
        }
        last = error;
        cause = error.source();
    }
    connect::without_queries(&last.to_string())
}

/// What a bucket's store said, where that is clear.
fn problem_of_bucket(error: &object_store::Error) -> Option<String> {
    use object_store::Error::{Generic, NotFound, PermissionDenied, Unauthenticated};
    let problem = match error {
        NotFound { source, .. } if source.downcast_ref::<std::io::Error>().is_none() => {
            "no such object or bucket: check the URI".to_owned()
        }
        PermissionDenied { .. } | Unauthenticated { .. } => connect::REFUSED.to_owned(),
        Generic { source, .. } if source.downcast_ref::<std::io::Error>().is_none() => {
            connect::problem(&source.to_string())
        }
        _ => return None,
    };
    Some(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_plainly() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let wrapped = object_store::Error::Generic { store: "local", source: full.into() };
        let message = failed("out/x", StoreAction::Write, wrapped.into()).to_string();
        assert_eq!(
            message,
            "out/x: cannot be written: no space left: free space or choose another --output"
        );
    }
}

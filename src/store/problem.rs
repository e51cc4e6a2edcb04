//! The error of a place of files. In: what was done, where, and what the system or a bucket's
//! client said. Out: the error for a person, without a credential in it or in its causes.

use super::advice::advice;
use super::redact::{Redacted, redacted};
use crate::error::{StoreAction, StoreError};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The error of `action` on the file or place `path`.
pub(super) fn failed(path: &str, action: StoreAction, source: BoxError) -> StoreError {
    let problem = advice(action, source.as_ref());
    let source = Box::new(Redacted::of(source.as_ref()));
    StoreError { path: redacted(path), action, problem, source }
}

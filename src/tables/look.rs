//! What a run would find in its output, without a change of it. In: the output and the identity of a
//! run. Out: how far that run is there, or why it would be refused.

use super::RunIdentity;
use super::commit::foreign_files;
use super::ledger::list_ledger;
use super::manifest::{Manifest, spec_differences};
use crate::error::TableError;
use crate::store::Store;

/// How far a run is in its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputState {
    /// There is nothing of it yet.
    New,
    /// So many of its shards are committed.
    Begun { shards: usize },
    /// All of it is there.
    Finished,
}

impl OutputState {
    /// Of the run `identity` in `store`.
    ///
    /// # Errors
    /// As [`RunWriter::open`](super::RunWriter::open).
    pub fn of(store: &Store, identity: &RunIdentity) -> Result<Self, TableError> {
        let uri = || store.uri().to_string();
        let Some(manifest) = Manifest::read(store)? else {
            let examples = foreign_files(store)?;
            return match examples.is_empty() {
                true => Ok(OutputState::New),
                false => Err(TableError::ForeignFiles { uri: uri(), examples }),
            };
        };
        if manifest.run_id != identity.run_id {
            let differences = spec_differences(&manifest.spec, &identity.spec);
            return Err(TableError::OtherRun { uri: uri(), differences });
        }
        match manifest.totals {
            Some(_) => Ok(OutputState::Finished),
            None => Ok(OutputState::Begun { shards: list_ledger(store)?.len() }),
        }
    }
}

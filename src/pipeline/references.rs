//! The references of a run, by category, as its output holds them. In: the output. Out: a
//! [`Reference`] for each category that has one, a few in memory at a time.
//!
//! - [`choose`] says which images are references, [`make`] makes files of them before the first shard;
//!   `archives` finds those inside tars and Parquet files, `tiled` adds those of tiles.

mod archives;
pub mod choose;
pub mod make;
mod tiled;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::TableError;
use crate::reference::{MIN_REFERENCES, MadeBy, Reference};
use crate::store::Store;
use crate::tables::reference_path;

/// References that stay in memory. Shards are scored category by category, so few are in use.
const KEPT: usize = 8;

/// The references of a run. Shared by all threads that score.
#[derive(Debug, Clone)]
pub struct References {
    /// `None`: the run has none.
    source: Option<(Store, MadeBy)>,
    /// Where they must be from; `None`: a category may have none.
    required_of: Option<Arc<str>>,
    kept: Arc<Mutex<VecDeque<Kept>>>,
    /// Categories of which it was said that they have none.
    told: Arc<Mutex<HashSet<String>>>,
}

/// A category, and its reference if it has one.
type Kept = (String, Option<Arc<Reference>>);

impl References {
    /// Of a run without references.
    pub fn none() -> Self {
        References { source: None, required_of: None, kept: Arc::default(), told: Arc::default() }
    }

    /// Of the run in `store`, which were made by `made_by`. With `required_of`, the place that is named to
    /// have them all, it is an error if a category has none.
    pub fn of_run(store: Store, made_by: MadeBy, required_of: Option<&str>) -> Self {
        References {
            source: Some((store, made_by)),
            required_of: required_of.map(Arc::from),
            ..References::none()
        }
    }

    /// Whether nobody has said yet that the category has none; from now on somebody has.
    fn is_news(&self, category: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(category.to_string())
    }

    /// The reference of a category; `None` if it has none.
    ///
    /// # Errors
    /// If its file cannot be read, is damaged, or was made by other networks, or if it has none and must
    /// have some.
    pub fn of(&self, category: &str) -> Result<Option<Arc<Reference>>, TableError> {
        let Some((store, made_by)) = &self.source else { return Ok(None) };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, reference)) = kept.iter().find(|(name, _)| name == category) {
            return Ok(reference.clone());
        }
        let reference = read(store, &reference_path(category), made_by)?.map(Arc::new);
        // Of images in archives, the category shows when they are read.
        if reference.is_none()
            && let Some(uri) = &self.required_of
        {
            return Err(TableError::TooFewReferences {
                uri: uri.to_string(),
                category: category.to_string(),
                more: 0,
                least: MIN_REFERENCES,
            });
        }
        if reference.is_none() && self.is_news(category) {
            tracing::warn!(
                "category {category}: not in the archives from which references were drawn, or fewer \
                 than {MIN_REFERENCES} different images there, so there are no references: images are \
                 scored one by one; --reference names others"
            );
        }
        push(&mut kept, category, reference.clone());
        Ok(reference)
    }

    /// Keeps what was written a moment ago, as it is read.
    fn keep(&self, category: &str, reference: Option<Arc<Reference>>) {
        push(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner), category, reference);
    }
}

fn push(kept: &mut VecDeque<Kept>, category: &str, reference: Option<Arc<Reference>>) {
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back((category.to_string(), reference));
}

/// The reference in a file of a run's output, if it is there.
///
/// # Errors
/// As [`References::of`].
pub fn read(store: &Store, path: &str, made_by: &MadeBy) -> Result<Option<Reference>, TableError> {
    let Some(bytes) = store.get_if_there(path)? else { return Ok(None) };
    let bad = |problem| TableError::BadReference { path: store.display(path), problem };
    let reference = Reference::decode(&bytes).map_err(bad)?;
    match made_by.difference(reference.made_by()) {
        None => Ok(Some(reference)),
        Some(difference) => Err(bad(difference)),
    }
}

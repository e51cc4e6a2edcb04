//! What a run has to do: a listing, or the plan that its first worker made of one. In: a listing
//! or rows of a plan. Out: shards.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

use crate::error::{Failure, FailureCode, ListingChanges, Stage, TableError};
use crate::source::{
    Archive, ArchiveKind, Category, Entry, Input, Label, Listing, MaskSource, Rejected, Sample,
    Shard, ShardSize, Shards, left_of,
};
use crate::store::{FileVersion, Store};
use crate::tables::{PlanEntry, PlanRow, ReplacedFiles, Skipped};

/// All work of a run.
#[derive(Debug)]
pub struct Plan {
    pub input: Input,
    /// Name of the layout.
    pub layout: String,
    /// One line: what was detected, and why.
    pub why: String,
    /// In the order of the image ids of their entries.
    pub shards: Vec<Shard>,
    /// Categories of all entries.
    pub categories: BTreeMap<Category, usize>,
    /// What earlier runs had scored and is not in the shards; `None` if nobody asked.
    pub skipped: Option<Skipped>,
    /// Sizes of files that were replaced since they were listed, by image id. Those in `shards` are
    /// what the work is dealt by, and stay.
    replaced: HashMap<Box<str>, u64>,
}

impl From<Listing> for Plan {
    fn from(listing: Listing) -> Self {
        let Listing { input, layout, why, shards, categories, .. } = listing;
        let layout = layout.as_str().to_string();
        let (skipped, replaced) = (None, HashMap::new());
        Plan { input, layout, why, shards, categories, skipped, replaced }
    }
}

impl Plan {
    /// The plan that `entry` names. Its images are read from `input`.
    ///
    /// # Errors
    /// If it is not what was written.
    pub fn read(
        store: &Store,
        entry: &PlanEntry,
        input: Input,
        layout: String,
    ) -> Result<Self, TableError> {
        let bad = |what: String| TableError::BadPart {
            path: store.display(&entry.path),
            problem: format!("{what} is not what this program writes"),
        };
        let mut shards = Shards::default();
        let mut categories = BTreeMap::new();
        for row in entry.read(store)? {
            let row = row?;
            let index = usize::try_from(row.shard).map_err(|_| bad(row.shard.to_string()))?;
            let bytes = u64::try_from(row.bytes).map_err(|_| bad(row.bytes.to_string()))?;
            let entry = entry_of(row).map_err(bad)?;
            entry.category().count_in(&mut categories);
            shards.add(index, entry, bytes);
        }
        let mut shards = shards.finish();
        let mut replaced = HashMap::new();
        for of in ReplacedFiles::read_all(store)? {
            let Some(shard) = shards.iter_mut().find(|shard| shard.id == of.shard_id) else {
                continue;
            };
            for file in of.files {
                let at = shard.entries.iter_mut().find(|entry| entry.image_id() == file.image_id);
                if let Some(entry) = at {
                    *entry = entry_of(file.row()).map_err(bad)?;
                    let bytes = file.new.bytes.try_into().unwrap_or_default();
                    replaced.insert(file.image_id.into(), bytes);
                }
            }
        }
        let why = format!("layout {layout}: as it was listed when the run began");
        Ok(Plan { input, layout, why, shards, categories, skipped: None, replaced })
    }

    /// How the files of `now` differ from those of this plan.
    pub fn changes(&self, now: &Plan) -> ListingChanges {
        let of = |plan: &Plan| -> BTreeMap<String, (PlanRow, Option<FileVersion>)> {
            let rows = plan.rows().map(|mut row| {
                let version = row.version();
                // Where it is dealt to, and when it was written, makes no other file of it.
                (row.shard, row.etag, row.modified_ns) = (0, None, None);
                if let Some(bytes) = plan.replaced.get(row.image_id.as_str()) {
                    row.bytes = i64::try_from(*bytes).unwrap_or(i64::MAX);
                }
                (row.image_id.clone(), (row, version))
            });
            rows.collect()
        };
        let (before, now) = (of(self), of(now));
        let new = now.keys().filter(|id| !before.contains_key(*id)).cloned().collect();
        let gone = before.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
        let (mut changed, mut touched) = (Vec::new(), Vec::new());
        for (id, (row, version)) in &before {
            match now.get(id) {
                Some((now, _)) if now != row => changed.push(id.clone()),
                Some((_, now)) if now != version => touched.push(id.clone()),
                _ => {}
            }
        }
        ListingChanges { new, changed, gone, touched }
    }

    /// The plan of the entries that are not `done`, which says so of each in order; at most `limit` of
    /// them.
    pub(super) fn left(self, done: &[bool], limit: Option<NonZeroU64>, size: ShardSize) -> Self {
        let mut done = done.iter();
        let is_left = || done.next() != Some(&true);
        let (shards, over) = left_of(self.shards, is_left, limit, size);
        if over > 0 {
            tracing::info!(images = over, "left for another run: over the limit");
        }
        let mut categories = BTreeMap::new();
        for entry in shards.iter().flat_map(|shard| &shard.entries) {
            entry.category().count_in(&mut categories);
        }
        Plan { shards, categories, ..self }
    }

    /// One row per entry, in order.
    pub fn rows(&self) -> impl Iterator<Item = PlanRow> {
        self.shards.iter().flat_map(|shard| {
            let sizes = shard.sizes.iter();
            shard.entries.iter().zip(sizes).map(|(entry, bytes)| row_of(shard, entry, *bytes))
        })
    }

    /// Images of all shards.
    pub fn pictures(&self) -> usize {
        self.categories.values().sum()
    }
}

/// What the plan has of an entry, whose file has `bytes`.
pub(super) fn row_of(shard: &Shard, entry: &Entry, bytes: u64) -> PlanRow {
    let of_all = PlanRow {
        // An index beyond this would be of 2³¹ shards.
        shard: shard.index.try_into().unwrap_or(i32::MAX),
        image_id: entry.image_id().to_string(),
        category: entry.category().to_string(),
        bytes: bytes.try_into().unwrap_or(i64::MAX),
        ..PlanRow::default()
    };
    match entry {
        Entry::Rejected(rejected) => PlanRow {
            uri: rejected.uri.clone(),
            failure: Some(rejected.failure.code.as_str().to_string()),
            message: Some(rejected.failure.message.clone()),
            ..of_all
        },
        Entry::Archive(archive) => {
            let (etag, modified_ns) = recorded(archive.version.as_ref());
            PlanRow {
                etag,
                modified_ns,
                archive: Some(archive.kind.as_str().to_string()),
                most: archive.most.map(|most| i64::try_from(most.get()).unwrap_or(i64::MAX)),
                ..of_all
            }
        }
        Entry::Sample(sample) => {
            let (etag, modified_ns) = recorded(sample.version.as_ref());
            PlanRow {
                etag,
                modified_ns,
                label: sample.label.map(|label| label == Label::Anomalous),
                kind: sample.kind.as_deref().map(str::to_string),
                file: sample.file.as_deref().map(str::to_string),
                kept: sample.kept.as_deref().map(str::to_string),
                mask_known: Some(sample.mask != MaskSource::Unknown),
                mask: match &sample.mask {
                    MaskSource::Files(ids) => ids.first().map(ToString::to_string),
                    MaskSource::Unknown | MaskSource::AllNormal => None,
                },
                more_masks: match &sample.mask {
                    MaskSource::Files(ids) if ids.len() > 1 => {
                        serde_json::to_string(&ids[1..]).ok()
                    }
                    _ => None,
                },
                ..of_all
            }
        }
    }
}

fn recorded(version: Option<&FileVersion>) -> (Option<String>, Option<i64>) {
    match version {
        Some(FileVersion::Etag(etag)) => (Some(etag.to_string()), None),
        Some(FileVersion::Modified(ns)) => (None, i64::try_from(*ns).ok()),
        None => (None, None),
    }
}

/// The entry of a row, or what is wrong with the row.
fn entry_of(row: PlanRow) -> Result<Entry, String> {
    let (version, masks) = (row.version(), row.masks());
    let image_id = row.image_id.into_boxed_str();
    let category = row.category.parse::<Category>().map_err(|_| row.category)?;
    if let Some(code) = row.failure {
        let code = FailureCode::named(&code).ok_or(code)?;
        let failure = Failure::new(Stage::List, code, row.message.unwrap_or_default());
        return Ok(Entry::Rejected(Box::new(Rejected {
            image_id,
            uri: row.uri,
            category,
            failure,
        })));
    }
    if let Some(kind) = row.archive {
        let kind = ArchiveKind::named(&kind).ok_or(kind)?;
        let most = row.most.map(|most| u64::try_from(most).ok().and_then(NonZeroU64::new));
        let most = most.map(|most| most.ok_or("most")).transpose()?;
        let bytes = u64::try_from(row.bytes).ok();
        return Ok(Entry::Archive(Archive { image_id, kind, version, bytes, category, most }));
    }
    let label = row.label.map(|label| if label { Label::Anomalous } else { Label::Normal });
    let mask = match (row.mask_known, row.mask) {
        (_, Some(_)) => MaskSource::Files(masks.into_iter().map(Into::into).collect()),
        (Some(true), None) => MaskSource::AllNormal,
        (_, None) => MaskSource::Unknown,
    };
    let kind = row.kind.map(Into::into);
    let (file, kept) = (row.file.map(Into::into), row.kept.map(Into::into));
    Ok(Entry::Sample(Sample { image_id, file, version, category, label, kind, mask, kept }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{LayoutChoice, ListOptions, list};
    use crate::store::Location;

    #[test]
    fn a_plan_comes_back_as_it_was_listed() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            "bolt/test/good/1.png",
            "bolt/test/crack/2.png",
            "bolt/test/crack/3.png",
            "bolt/ground_truth/crack/2_mask.png",
            "nut/test/dent/4.png",
            "nut/test/none.png",
        ];
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", dir.path().join("nut/test/dent/lost.png")).unwrap();
        let location = Location::local(dir.path());
        let options = ListOptions {
            layout: LayoutChoice::Mvtec,
            shard_size: 2.try_into().unwrap(),
            ..ListOptions::default()
        };
        let plan = Plan::from(list(&location, &options).unwrap());
        let kinds = plan.shards.iter().flat_map(|shard| &shard.entries);
        let rejected = kinds.filter(|entry| matches!(entry, Entry::Rejected(_))).count();
        assert_eq!((plan.pictures(), rejected, plan.shards.len()), (6, 2, 3));

        let out = tempfile::tempdir().unwrap();
        let store = Store::open(&Location::local(out.path())).unwrap();
        let bytes = crate::tables::encode_plan(plan.rows()).unwrap();
        let entry = PlanEntry { path: "p".into(), blake3: blake3::hash(&bytes).to_string() };
        store.put("p", bytes).unwrap();
        let read = Plan::read(&store, &entry, plan.input.clone(), plan.layout.clone()).unwrap();
        assert_eq!(read.shards, plan.shards);
        assert_eq!(read.categories, plan.categories);

        store.put("p", "other").unwrap();
        let error = Plan::read(&store, &entry, plan.input.clone(), plan.layout).unwrap_err();
        assert!(error.to_string().contains("was changed after the run began"), "{error}");
    }
}

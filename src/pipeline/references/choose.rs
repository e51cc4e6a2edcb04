//! Which images are the references of a run. In: the plan and the job spec. Out: for each category the
//! few images that are references, chosen and not read; or the run that has them. Never here: opening
//! an image.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, SourceError, TableError};
use crate::job::{JobSpec, Partition, ReferenceChoice, ReferenceFallback};
use crate::pipeline::retry::Task;
use crate::reference::{Choice, MIN_REFERENCES, Origin, rank};
use crate::source::{
    Archive, Category, Columns, Entry, Input, Label, ListOptions, Listing, Sample, Shard, list,
    list_train,
};
use crate::store::{Location, Store};
use crate::tables::Manifest;

/// Archives of a category that are looked into at most.
const ARCHIVES: usize = 64;

/// Where the references of a run come from, chosen but not read.
#[derive(Debug)]
pub enum ReferenceSource {
    /// The run has none.
    None,
    /// Images, by category.
    Images { chosen: Chosen, fallback: Option<Chosen> },
    /// The files of an earlier run.
    EarlierRun { store: Store, uri: String, fallback: Option<Chosen> },
    /// Not looked at yet: a run that was begun has its references, or most of them.
    Later(Later),
}

/// References that are named and not looked at yet.
#[derive(Debug)]
pub struct Later {
    input: Location,
    options: ListOptions,
    choice: ReferenceChoice,
    /// The one category of the plan, if it has only one.
    only: Option<Category>,
    fallback: Option<Chosen>,
}

/// Whether a run begins or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    First,
    Again,
}

/// Images that were chosen as references.
#[derive(Debug)]
pub struct Chosen {
    pub(super) input: Input,
    /// What they are taken to be.
    pub(super) origin: Origin,
    pub(super) files: BTreeMap<Category, Vec<Sample>>,
    /// Files with images in them, in the order in which they are looked into.
    pub(super) archives: Vec<Archive>,
}

impl ReferenceSource {
    /// What `spec` names, for the images of `input` in `shards`.
    ///
    /// # Errors
    /// If references are named and cannot be listed. A run that goes on needs them only if some are
    /// missing, see [`Later::open`].
    pub fn open(
        spec: &JobSpec,
        input: &Input,
        shards: &[Shard],
        start: Start,
    ) -> Result<Self, Error> {
        let archive = || Chosen::of(input, Origin::Archive, shards, |_| true);
        let choice = match &spec.reference {
            ReferenceChoice::None => return Ok(ReferenceSource::None),
            ReferenceChoice::Archive => {
                return Ok(ReferenceSource::Images { chosen: archive(), fallback: None });
            }
            named => named.clone(),
        };
        let later = Later {
            input: spec.input.clone(),
            options: spec.list_options(),
            choice,
            only: only_category(shards),
            fallback: match spec.reference_fallback {
                ReferenceFallback::Archive => Some(archive()),
                ReferenceFallback::Error | ReferenceFallback::None => None,
            },
        };
        match start {
            Start::First => later.open(),
            Start::Again => Ok(ReferenceSource::Later(later)),
        }
    }

    /// Whether each category in `shards` has as many references as it must have, as far as that shows
    /// before an image is read.
    ///
    /// # Errors
    /// If one has too few, and nothing may take their place.
    pub fn check(&self, shards: &[Shard], on_missing: ReferenceFallback) -> Result<(), TableError> {
        let ReferenceSource::Images { chosen, .. } = self else { return Ok(()) };
        let lenient = on_missing != ReferenceFallback::Error || chosen.origin == Origin::Archive;
        if lenient || !chosen.archives.is_empty() {
            return Ok(());
        }
        let few = |category: &&Category| {
            chosen.files.get(*category).is_none_or(|files| files.len() < MIN_REFERENCES)
        };
        let few = categories_of_files(shards.iter()).into_iter().filter(few).collect::<Vec<_>>();
        match few.first() {
            None => Ok(()),
            Some(category) => Err(TableError::TooFewReferences {
                uri: chosen.input.display(""),
                category: category.to_string(),
                more: few.len() - 1,
                least: MIN_REFERENCES,
            }),
        }
    }

    /// The place that must have references of all categories; `None` if something may take their place.
    pub fn required_of(spec: &JobSpec) -> Option<&str> {
        match (&spec.reference, spec.reference_fallback) {
            (ReferenceChoice::At(place), ReferenceFallback::Error) => Some(place.uri()),
            (ReferenceChoice::Train, ReferenceFallback::Error) => Some(spec.input.uri()),
            _ => None,
        }
    }

    /// Whether the run has references.
    pub fn is_some(&self) -> bool {
        !matches!(self, ReferenceSource::None)
    }
}

impl Later {
    /// What is named.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn open(self) -> Result<ReferenceSource, Error> {
        let Later { input, options, choice, only, fallback } = self;
        let listing = match choice {
            ReferenceChoice::At(place) => {
                if let Some(store) = earlier_run(&place)? {
                    let uri = place.uri().to_string();
                    return Ok(ReferenceSource::EarlierRun { store, uri, fallback });
                }
                listed(&place, only, options.columns)?
            }
            ReferenceChoice::Train | ReferenceChoice::Archive | ReferenceChoice::None => {
                list_train(&input, &options)?
            }
        };
        // Images that are known to be anomalous say nothing of what is normal.
        let good = |sample: &Sample| sample.label != Some(Label::Anomalous);
        let chosen = Chosen::of(&listing.input, Origin::Normal, &listing.shards, good);
        Ok(ReferenceSource::Images { chosen, fallback })
    }
}

/// The category that all images are of, if there is only one: references that no folder names are
/// of it, too.
fn only_category(shards: &[Shard]) -> Option<Category> {
    let mut entries = shards.iter().flat_map(|shard| &shard.entries);
    let first = entries.next()?.category();
    entries.all(|entry| entry.category() == first).then(|| first.clone())
}

fn listed(
    place: &Location,
    category: Option<Category>,
    columns: Columns,
) -> Result<Listing, Error> {
    let columns = Columns { keep: Vec::new(), ..columns };
    let listing = list(place, &ListOptions { category, columns, ..ListOptions::default() })?;
    tracing::info!(images = listing.n_entries, "references: {}", listing.why);
    Ok(listing)
}

/// The store of the run at `place`, if there is one.
fn earlier_run(place: &Location) -> Result<Option<Store>, Error> {
    if place.disk().is_some_and(|path| !path.is_dir()) {
        return match place.disk().is_some_and(|path| path.exists()) {
            // One image or archive.
            true => Ok(None),
            false => Err(SourceError::NoReferences { uri: place.uri().to_string() }.into()),
        };
    }
    let store = Store::open(place)?;
    store.check()?;
    Ok(Manifest::read(&store)?.map(|_| store))
}

impl Chosen {
    fn of(
        input: &Input,
        origin: Origin,
        shards: &[Shard],
        wanted: impl Fn(&Sample) -> bool,
    ) -> Self {
        let mut files = Choice::default();
        let mut archives = Vec::new();
        for entry in shards.iter().flat_map(|shard| &shard.entries) {
            match entry {
                Entry::Sample(sample) if wanted(sample) => {
                    files.offer(&sample.category, &sample.image_id, || sample.clone());
                }
                Entry::Archive(archive) => archives.push(archive.clone()),
                Entry::Sample(_) | Entry::Rejected(_) => {}
            }
        }
        archives.sort_by_cached_key(|archive| rank(&archive.image_id));
        let mut of_category = BTreeMap::<Category, usize>::new();
        archives.retain(|archive| {
            let before = of_category.entry(archive.category.clone()).or_default();
            *before += 1;
            *before <= ARCHIVES
        });
        Chosen { input: input.clone(), origin, files: files.finish(), archives }
    }
}

/// What a worker needs references of.
#[derive(Debug)]
pub struct Wanted {
    /// Categories of its images, those that other workers begin with last.
    pub(super) categories: Vec<Category>,
    /// Whether it has archives: of which categories their images are shows when they are read.
    pub(super) archives: bool,
}

/// Categories of images that have files of their own: of those in archives it shows when they are read.
fn categories_of_files<'a>(shards: impl Iterator<Item = &'a Shard>) -> BTreeSet<&'a Category> {
    let entries = shards.flat_map(|shard| &shard.entries);
    entries.filter(|entry| matches!(entry, Entry::Sample(_))).map(Entry::category).collect()
}

impl Wanted {
    /// Of a worker with these tasks.
    pub fn of(tasks: &[Task], partition: Partition) -> Self {
        let shards = tasks.iter().map(|task| &*task.shard);
        let mut entries = shards.clone().flat_map(|shard| &shard.entries);
        let archives = entries.any(|entry| matches!(entry, Entry::Archive(_)));
        let mut categories = categories_of_files(shards).into_iter().cloned().collect::<Vec<_>>();
        let first = categories.len() * partition.index() / partition.count();
        categories.rotate_left(first);
        Wanted { categories, archives }
    }
}

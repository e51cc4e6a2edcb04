//! The layout `table`: a CSV, JSON Lines or Parquet file that lists images, as a plant's database
//! exports them. Column `image` or `uri` says where each is, relative to the table or absolute, in any
//! store; `category`, `label`, `kind`, `mask` and `id` say what is known of it. Rows go in, entries come
//! out. Every row is an image or a failure; rows that say the same are one image.
//!
//! Files of a disk are looked at, so that one that is missing shows at once; in a bucket that would be a
//! request for each, and it shows when it is read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::category::Categories;
use super::drafts::Drafts;
use super::input::{Input, is_uri, uri_of};
use super::member::unique;
use super::options::Columns;
use super::shard::Draft;
use super::table_columns::{Said, TableColumns};
use super::table_paths::resolve;
use super::table_rows::{Table, TableKind};
use super::tree::{Found, Tree, Trouble};
use super::walk::look_at;
use super::{Category, Entry, Label, MaskSource, Rejected, Sample, Unclear};
use crate::error::{Failure, FailureCode, SourceError, Stage};
use crate::store::{Location, redact};

/// Extensions of files that are tables of images and nothing else.
pub(super) const TABLE_EXTENSIONS: [&str; 4] = ["csv", "tsv", "jsonl", "ndjson"];

/// True if the name is that of a table; a Parquet file may have the images themselves.
pub(super) fn is_table(name: &str) -> bool {
    let extension = extension(name);
    TABLE_EXTENSIONS.contains(&extension.as_str())
}

/// Whether the one file of `tree` is a table of images.
pub(super) fn is_one(tree: &Tree, input: &Input, columns: &Columns) -> bool {
    let [found] = tree.files() else { return false };
    if is_table(&found.id) {
        return true;
    }
    if kind_of(&found.id) != TableKind::Parquet {
        return false;
    }
    let file = input.open_file(&found.id, found.version.as_ref(), Some(found.bytes)).ok();
    let table = file.and_then(|file| Table::open(file, TableKind::Parquet).ok());
    let has_images = |table: &Table| {
        let columns = TableColumns::of(table.header(), columns);
        table.files().is_empty() && columns.is_ok()
    };
    table.as_ref().is_some_and(has_images)
}

/// Lists the images of the table in `tree`.
pub(super) fn list(
    tree: &Tree,
    input: &Input,
    columns: &Columns,
    categories: &mut Categories,
) -> Result<Drafts, SourceError> {
    let found = the_table(tree, input)?;
    let place = input.display(&found.id);
    let bad = |why: String| SourceError::BadTable { place: place.clone(), why };
    if let Some(trouble) = &found.trouble {
        return Err(bad(trouble.failure.message.clone()));
    }
    let file = input.open_file(&found.id, found.version.as_ref(), Some(found.bytes));
    let file = file.map_err(|failure| bad(failure.message))?;
    let table = Table::open(file, kind_of(&found.id)).map_err(bad)?;
    let columns = TableColumns::of(table.header(), columns).map_err(bad)?;
    if let Some(name) = columns.images().find(|name| table.files().iter().any(|file| file == name))
    {
        return Err(bad(format!(
            "column `{name}` has images, not their paths: use --layout parquet"
        )));
    }
    let whole = categories.of(None)?;
    let mut rows = Rows {
        input,
        listed: Vec::with_capacity(table.expected_rows()),
        empty: 0,
        categories: HashMap::new(),
        whole,
        kinds: HashMap::new(),
        unclear: Unclear::default(),
    };
    let places = columns.places();
    table
        .each(&places, &mut |line, row| rows.add(line, row.map(|row| columns.said(&row))))
        .map_err(bad)?;
    if !rows.listed.iter().any(|row| !row.entry.image_id().starts_with("(line ")) {
        let names = columns.images().collect::<Vec<_>>().join(", ");
        return Err(bad(format!("no row names an image (by {names})")));
    }
    rows.unclear.report(&place, &format!("category {}", rows.whole));
    Ok(rows.finish())
}

/// The table: the input, or the only one directly in it.
fn the_table<'a>(tree: &'a Tree, input: &Input) -> Result<&'a Found, SourceError> {
    if let [only] = tree.files() {
        return Ok(only);
    }
    let is_here = |found: &&Found| {
        let known = is_table(&found.id) || kind_of(&found.id) == TableKind::Parquet;
        known && !found.id.contains('/')
    };
    let tables = tree.files().iter().filter(is_here).collect::<Vec<_>>();
    match tables.as_slice() {
        [only] => Ok(only),
        tables => Err(SourceError::BadTable {
            place: input.display(""),
            why: format!("{} tables in this folder: give one as --input", tables.len()),
        }),
    }
}

fn kind_of(name: &str) -> TableKind {
    match extension(name).as_str() {
        "jsonl" | "ndjson" | "json" => TableKind::JsonLines,
        "parquet" => TableKind::Parquet,
        _ => TableKind::Csv,
    }
}

fn extension(name: &str) -> String {
    let extension = Path::new(name).extension().unwrap_or_default();
    extension.to_string_lossy().to_lowercase()
}

/// The rows of a table while they are read.
struct Rows<'a> {
    input: &'a Input,
    /// Each with its line in the place of its size, until its file is looked at: a million of them are
    /// held once only.
    listed: Vec<Draft>,
    /// Rows without a cell that counts.
    empty: usize,
    categories: HashMap<String, Category>,
    /// Of images without a category of their own.
    whole: Category,
    kinds: HashMap<String, Arc<str>>,
    unclear: Unclear,
}

impl Rows<'_> {
    fn add(&mut self, line: u64, said: Result<Said, String>) {
        let entry = match said {
            // Spreadsheets write rows of nothing.
            Ok(said) if said.is_empty() => {
                self.empty += 1;
                return;
            }
            Err(why) => self.rejected(line, None, None, why),
            Ok(said) => self.entry(line, said),
        };
        self.listed.push(Draft { entry, size_bytes: line });
    }

    fn entry(&mut self, line: u64, said: Said) -> Entry {
        let Said { image, id, masks, known } = said;
        self.unclear.note(&known);
        let category = known.category.map(|name| self.category(name));
        let Some(written) = image else {
            return self.rejected(line, id, category, "names no image: add it".to_owned());
        };
        let place = match resolve(&written, self.input) {
            Ok(place) => place,
            Err(why) => {
                let written = redact(&written);
                let why = match why.starts_with(&written) {
                    true => format!("names {why}"),
                    false => format!("names {written}: {why}"),
                };
                return self.rejected(line, id.or(Some(written)), category, why);
            }
        };
        let masks = match known.label {
            Some(Label::Normal) => Ok(MaskSource::AllNormal),
            _ if masks.is_empty() => Ok(MaskSource::Unknown),
            _ => {
                let files = masks.iter().map(|mask| resolve(mask, self.input).map(Into::into));
                files.collect::<Result<_, _>>().map(MaskSource::Files)
            }
        };
        // An absolute path is called what the table calls it.
        let image_id = printable(id.unwrap_or_else(|| match is_uri(&place) {
            true => written,
            false => place.clone(),
        }));
        let mask = match masks {
            Ok(mask) => mask,
            Err(why) => {
                let message = format!("the mask in line {line} of the table: {why}");
                let failure = Failure::new(Stage::List, FailureCode::MaskMissing, message);
                let uri = Some(self.input.uri_of(&place));
                let category = category.unwrap_or_else(|| self.whole.clone());
                let image_id = image_id.into();
                return Entry::Rejected(Box::new(Rejected { image_id, uri, category, failure }));
            }
        };
        Entry::Sample(Sample {
            file: (place != image_id).then(|| place.into()),
            image_id: image_id.into(),
            version: None,
            category: category.unwrap_or_else(|| self.whole.clone()),
            label: known.label,
            kind: known.kind.map(|kind| self.kind(kind)),
            mask,
            kept: known.kept,
        })
    }

    /// A row that is no image that could be read.
    fn rejected(
        &self,
        line: u64,
        id: Option<String>,
        category: Option<Category>,
        why: String,
    ) -> Entry {
        let failure = Failure::new(
            Stage::List,
            FailureCode::Unreadable,
            format!("line {line} of the table: {why}"),
        );
        let image_id = id.map_or_else(|| format!("(line {line})"), printable).into();
        let uri = Some(self.input.uri_of(""));
        let category = category.unwrap_or_else(|| self.whole.clone());
        Entry::Rejected(Box::new(Rejected { image_id, uri, category, failure }))
    }

    /// The category of this name; the whole table's if it cannot be one.
    fn category(&mut self, name: String) -> Category {
        if let Some(category) = self.categories.get(&name) {
            return category.clone();
        }
        let category = name.parse().unwrap_or_else(|_| self.whole.clone());
        self.categories.insert(name, category.clone());
        category
    }

    fn kind(&mut self, name: String) -> Arc<str> {
        self.kinds.entry(name).or_insert_with_key(|name| name.as_str().into()).clone()
    }

    /// The entries: rows that name the same image are one if they say the same, else a failure.
    fn finish(self) -> Drafts {
        let mut listed = self.listed;
        listed.sort_unstable_by(|a, b| {
            let of_lines = a.size_bytes.cmp(&b.size_bytes);
            a.entry.image_id().cmp(b.entry.image_id()).then(of_lines)
        });
        let mut rivals = Vec::new();
        let (mut repeated, mut kept, mut start) = (0, 0, 0);
        while start < listed.len() {
            let id = listed[start].entry.image_id();
            let same = listed[start..].iter().take_while(|row| row.entry.image_id() == id);
            let end = start + same.count();
            let group = &listed[start..end];
            if group.iter().all(|row| row.entry == group[0].entry) {
                repeated += group.len() - 1;
                listed.swap(kept, start);
                kept += 1;
            } else {
                rivals.extend(rivals_of(group, self.input));
            }
            start = end;
        }
        listed.truncate(kept);
        let folder = self.input.folder();
        listed.par_iter_mut().for_each(|draft| {
            draft.size_bytes = 0;
            look(draft, folder);
        });
        listed.append(&mut rivals);
        let mut drafts = Drafts::of(listed);
        drafts.ignore_many("(repeated row)", repeated);
        drafts.ignore_many("(empty row)", self.empty);
        drafts
    }
}

/// Rows of one id that say different things, each file once, as failures.
fn rivals_of(group: &[Draft], input: &Input) -> Vec<Draft> {
    let lines = group.iter().map(|row| row.size_bytes.to_string()).collect::<Vec<_>>().join(", ");
    let mut by_file = BTreeMap::new();
    for Draft { entry, .. } in group {
        let (place, failure) = match entry {
            Entry::Sample(sample) => (input.uri_of(sample.file()), None),
            Entry::Rejected(of) => (of.uri.clone().unwrap_or_default(), Some(&of.failure)),
            Entry::Archive(_) => continue,
        };
        by_file.entry(place).or_insert((entry.category(), failure));
    }
    let why = match by_file.len() {
        1 => "name this image and say different things of it: keep one",
        _ => "have this id and name different images: give each its own",
    };
    let message = format!("lines {lines} of the table {why}");
    let duplicate = Failure::new(Stage::List, FailureCode::DuplicateName, message);
    let mut names = HashSet::new();
    let rivals = by_file.into_iter().map(|(place, (category, failure))| {
        let image_id = unique(group[0].entry.image_id().to_owned(), &mut names).into();
        let failure = failure.unwrap_or(&duplicate).clone();
        let (uri, category) = (Some(place), category.clone());
        let rejected = Rejected { image_id, uri, category, failure };
        Draft { entry: Entry::Rejected(Box::new(rejected)), size_bytes: 0 }
    });
    rivals.collect()
}

/// Looks at the file of a draft, if it is on a disk: its size and version, or what is wrong with it.
fn look(draft: &mut Draft, folder: Option<&Path>) {
    let Entry::Sample(sample) = &mut draft.entry else { return };
    let file = sample.file();
    let path = match is_uri(file) {
        false => folder.map(|folder| folder.join(file)),
        true => file.parse::<Location>().ok().and_then(|at| at.disk().map(Path::to_owned)),
    };
    let Some(path) = path else { return };
    let Found { bytes, version, trouble, .. } = look_at(Path::new("/"), &path);
    draft.size_bytes = bytes;
    sample.version = version;
    if let Some(trouble) = trouble {
        let Trouble { failure, uri } = *trouble;
        draft.entry = Entry::Rejected(Box::new(Rejected {
            image_id: sample.image_id.clone(),
            uri: uri.or_else(|| Some(uri_of(&path))),
            category: sample.category.clone(),
            failure,
        }));
    }
}

/// The id with control characters escaped: it is shown in lines of text.
fn printable(id: String) -> String {
    if !id.chars().any(char::is_control) {
        return id;
    }
    let escaped = |c: char| match c.is_control() {
        true => format!("\\x{:02X}", u32::from(c)),
        false => c.to_string(),
    };
    id.chars().map(escaped).collect()
}

//! The images of a listing, and which of them earlier runs have scored. In: the listing, then rows of
//! the plans of earlier runs, the newest run first. Out: for each entry the run that scored it, if one
//! did. An image takes 32 bytes here whatever its name is.

use chrono::NaiveDate;

use crate::pipeline::plan::Plan;
use crate::tables::PlanRow;

/// The images of a listing.
pub(super) struct Known {
    /// By name.
    images: Vec<Image>,
    /// Dates of runs, as they come: the newest first.
    dates: Vec<NaiveDate>,
    /// Whether a file of the listing is named by a whole URI.
    elsewhere: bool,
}

struct Image {
    /// Digest of where it is and what it is called.
    name: u128,
    /// Digest of all else that the listing says of it.
    content: u64,
    /// Of its entry in the listing.
    index: u32,
    state: State,
}

/// What earlier runs have of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// None has it, as far as was read.
    New,
    /// The newest run that has it, of the date of this index, has another content or no score of it.
    Again(u16),
    /// The run of this index has scored it.
    Scored(u16),
}

/// Whether a row names its file by a URI of its own, which means the same in every input.
pub(super) fn is_elsewhere(row: &PlanRow) -> bool {
    row.file.as_ref().unwrap_or(&row.image_id).contains("://")
}

impl Known {
    /// Of all entries of the plan.
    pub fn of(plan: &Plan) -> Self {
        let mut images = Vec::with_capacity(plan.pictures());
        let (mut elsewhere, mut unversioned) = (false, 0);
        for (index, row) in (0..).zip(plan.rows()) {
            // What is no image, plainly from its name, fails in every run.
            if row.failure.is_some() {
                continue;
            }
            elsewhere |= is_elsewhere(&row);
            unversioned += usize::from(row.version().is_none());
            images.push(Image {
                name: name(&row),
                content: content(&row),
                index,
                state: State::New,
            });
        }
        images.sort_unstable_by_key(|image| image.name);
        if unversioned > 0 {
            tracing::warn!(
                images = unversioned,
                "the table does not say when these images were changed last: --skip-scored takes an \
                 image of the same name and place for the same"
            );
        }
        Known { images, dates: Vec::new(), elsewhere }
    }

    /// Whether a file of the listing is named by a URI of its own.
    pub fn has_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// Takes in what the run with this index, begun on this date, has of an image. The newest run that
    /// has the image decides; of several of one date, any that scored it as it is now.
    pub fn decide(&mut self, row: &PlanRow, scored: bool, run: usize, date: NaiveDate) {
        if self.dates.last() != Some(&date) {
            self.dates.push(date);
        }
        let date = self.dates.len() as u16;
        let name = name(row);
        let Ok(at) = self.images.binary_search_by_key(&name, |image| image.name) else { return };
        let image = &mut self.images[at];
        if image.state != State::New && image.state != State::Again(date) {
            return;
        }
        image.state = match scored && image.content == content(row) {
            true => State::Scored(run as u16),
            false => State::Again(date),
        };
    }

    /// The index of the run that scored an entry, for each entry of the listing.
    pub fn finish(self, entries: usize) -> Vec<Option<u16>> {
        let mut runs = vec![None; entries];
        for image in self.images {
            if let (State::Scored(run), Some(of)) =
                (image.state, runs.get_mut(image.index as usize))
            {
                *of = Some(run);
            }
        }
        runs
    }
}

/// Where an image is below its input, or anywhere, and what it is called.
fn name(row: &PlanRow) -> u128 {
    let mut fields = Fields::default();
    fields.add(row.file.as_ref().unwrap_or(&row.image_id).as_bytes());
    fields.add(row.image_id.as_bytes());
    let digest = fields.0.finalize();
    let half = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    u128::from_le_bytes(half)
}

/// All that a plan has of a file but for where it was dealt to, and for columns that are only copied.
fn content(row: &PlanRow) -> u64 {
    let mut fields = Fields::default();
    let texts = [&row.etag, &row.kind, &row.mask, &row.more_masks, &row.archive];
    texts.into_iter().for_each(|text| fields.optional(text.as_ref().map(String::as_bytes)));
    let of_bool = |known: Option<bool>| known.map(i64::from);
    let (label, mask_known) = (of_bool(row.label), of_bool(row.mask_known));
    for number in [Some(row.bytes), row.modified_ns, row.most, label, mask_known] {
        fields.optional(number.map(i64::to_le_bytes).as_ref().map(|bytes| &bytes[..]));
    }
    fields.add(row.category.as_bytes());
    let digest = fields.0.finalize();
    let start = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(start)
}

/// Every field is preceded by its length, so that no two rows give the same bytes.
#[derive(Default)]
struct Fields(blake3::Hasher);

impl Fields {
    fn add(&mut self, field: &[u8]) {
        self.0.update(&(field.len() as u64).to_le_bytes());
        self.0.update(field);
    }

    fn optional(&mut self, field: Option<&[u8]>) {
        self.add(&[u8::from(field.is_some())]);
        self.add(field.unwrap_or_default());
    }
}

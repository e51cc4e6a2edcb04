//! Which column of a table of images means what. The header, or a row that names its own cells, goes
//! in; the cells that count come out. Names count in any case. Never here: reading rows, and what a
//! label means.

use serde_json::Value;

use super::label::LabelValue;
use super::member::{self, kept, text_of_value, value_of};
use super::options::Columns;
use super::table_rows::Row;

/// Columns with the path or the URI of an image; the first that has one in a row counts.
const IMAGES: [&str; 2] = ["image", "uri"];

/// What such a column is called in tables of others.
const USUAL: [&str; 12] = [
    "image_uri",
    "image_path",
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "img",
    "img_path",
    "picture",
    "url",
];

/// The columns of a table that count.
pub(super) struct TableColumns {
    images: Vec<Column>,
    category: Column,
    label: Column,
    kind: Column,
    mask: Column,
    id: Column,
    keep: Vec<Column>,
}

/// A column by its name and, where there is a header, its place.
struct Column {
    name: String,
    at: Option<usize>,
    /// Whether the header has the name more than once.
    is_doubled: bool,
}

/// What a row says.
pub(super) struct Said {
    /// As written; `None`: the row names no image.
    pub image: Option<String>,
    pub id: Option<String>,
    pub masks: Vec<String>,
    pub known: member::Known,
}

impl Said {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        let Said { image, id, masks, known } = self;
        let member::Known { label, kind, category, unclear, kept: _ } = known;
        (image, id, label) == (&None, &None, &None)
            && (kind, category, unclear) == (&None, &None, &None)
            && masks.is_empty()
    }
}

impl TableColumns {
    /// The columns of a table with this header, if it has one.
    ///
    /// # Errors
    /// If a column that must be there is not; says which there are.
    pub fn of(header: Option<&[String]>, asked: &Columns) -> Result<Self, String> {
        let column = |name: &str| Column::named(name, header);
        let there = |column: &Column| header.is_none() || column.at.is_some();
        let needed = |name: &String| {
            let column = column(name);
            if there(&column) { Ok(column) } else { Err(missing(&format!("`{name}`"), header)) }
        };
        let images = match &asked.image {
            Some(name) => vec![needed(name)?],
            None => {
                let of = |names: &[&str]| {
                    names.iter().map(|name| column(name)).filter(there).collect::<Vec<_>>()
                };
                match (of(&IMAGES), header) {
                    (images, Some(_)) if images.is_empty() => {
                        of(&USUAL).into_iter().take(1).collect()
                    }
                    (images, Some(_)) => images,
                    (images, None) => images.into_iter().chain(of(&USUAL)).collect(),
                }
            }
        };
        let Some(first) = images.first() else {
            return Err(format!(
                "{}; --image-column names it",
                missing("`image` or `uri`", header)
            ));
        };
        if header.is_some() && asked.image.is_none() && !IMAGES.contains(&&*first.name) {
            let column = first.name.as_str();
            tracing::info!(column, "no column `image` or `uri`: images are taken from this one");
        }
        let columns = TableColumns {
            images,
            category: column("category"),
            label: column("label"),
            kind: column("kind"),
            mask: column("mask"),
            id: column("id"),
            keep: asked.keep.iter().map(needed).collect::<Result<_, _>>()?,
        };
        if let Some(Column { name, .. }) = columns.all().find(|column| column.is_doubled) {
            return Err(format!("several columns are called `{name}`: rename all but one"));
        }
        Ok(columns)
    }

    fn all(&self) -> impl Iterator<Item = &Column> {
        let one = [&self.category, &self.label, &self.kind, &self.mask, &self.id];
        self.images.iter().chain(one).chain(&self.keep)
    }

    /// The names of the columns of images.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.images.iter().map(|column| column.name.as_str())
    }

    /// Where the columns are that count, in order.
    pub fn places(&self) -> Vec<usize> {
        let mut places = self.all().filter_map(|column| column.at).collect::<Vec<_>>();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// What `row` says; of a label, whether it is understood as well.
    pub fn said(&self, row: &Row) -> Said {
        let text = |column: &Column| text_of_value(column.of(row)?);
        let label = self.label.of(row).map(LabelValue::of_json).unwrap_or_default();
        let known = member::Known {
            kind: text(&self.kind),
            category: text(&self.category),
            kept: kept(&self.keep.iter().map(text).collect::<Vec<_>>()),
            ..member::Known::default()
        };
        let masks = match self.mask.of(row) {
            Some(Value::Array(masks)) => masks.iter().filter_map(text_of_value).collect(),
            Some(mask) => text_of_value(mask).into_iter().collect(),
            None => Vec::new(),
        };
        Said {
            image: self.images.iter().find_map(text),
            id: text(&self.id),
            masks,
            known: known.or(member::Known::of_label(label)),
        }
    }
}

impl Column {
    fn named(name: &str, header: Option<&[String]>) -> Self {
        let header = header.unwrap_or_default().iter().enumerate();
        let mut same = header.filter(|(_, column)| column.trim().eq_ignore_ascii_case(name));
        let at = same.next().map(|(at, _)| at);
        Column { name: name.to_owned(), at, is_doubled: same.next().is_some() }
    }

    fn of<'a>(&self, row: &'a Row) -> Option<&'a Value> {
        match row {
            Row::Aligned(cells) => cells.get(self.at?),
            Row::Keyed(cells) => value_of(cells, &self.name),
        }
    }
}

fn missing(what: &str, header: Option<&[String]>) -> String {
    format!("no column {what}, found {}", header.unwrap_or_default().join(", "))
}

//! The columns of exported rows. In: images. Out: the names of the columns and, image by image, their
//! values as text, as CSV and JSON write them. Numbers have as many digits as it takes to read the same
//! number again.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};

use super::selection::Image;
use crate::error::{Error, ExportError};
use crate::tables::{Column, ColumnType, Columns, RunSet, ScoreRow};

/// An exported image and its files.
#[derive(Debug, Default)]
pub struct Exported {
    pub image: Image,
    /// Its files, relative to the folders of this export; `None` if it has none.
    pub overlay: Option<String>,
    pub mask_file: Option<String>,
}

/// The columns of an export.
pub struct Layout {
    /// Run id and date, by the index of the run.
    runs: Vec<(String, String)>,
    own: Vec<&'static Column<ScoreRow>>,
    kept: Vec<String>,
    /// What the columns of files are called, if there are any.
    overlay: Option<String>,
    mask: Option<String>,
}

/// A value, ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    /// A number or a truth value.
    Plain(String),
    Text(String),
}

impl Layout {
    /// Columns of `set`; those of files if there are files.
    pub fn new(set: &RunSet, overlays: bool, masks: bool) -> Self {
        let mut kept = Vec::new();
        for name in set.runs().iter().flat_map(|run| run.manifest().keep()) {
            if !kept.contains(&name) {
                kept.push(name);
            }
        }
        let of_files = |name: &str| match kept.iter().any(|kept| kept == name) {
            false => name.to_string(),
            true => format!("{name}_file"),
        };
        let id = |run: &crate::tables::RunReader| {
            (run.manifest().run_id.clone(), run.manifest().run_date.to_string())
        };
        let own = ScoreRow::COLUMNS.iter();
        Layout {
            runs: set.runs().iter().map(id).collect(),
            own: own.filter(|column| !ScoreRow::OPAQUE.contains(&column.name)).collect(),
            overlay: overlays.then(|| of_files("overlay")),
            mask: masks.then(|| of_files("mask")),
            kept,
        }
    }

    /// The names of the columns, in their order.
    pub fn names(&self) -> Vec<&str> {
        let own = self.own.iter().map(|column| column.name);
        let kept = self.kept.iter().map(String::as_str);
        let files = self.overlay.iter().chain(&self.mask).map(String::as_str);
        let ids = ["run_date", "run_id", "shard_id"];
        ["category"].into_iter().chain(own).chain(kept).chain(files).chain(ids).collect()
    }

    /// The rows of `images`, each with a value per column.
    ///
    /// # Errors
    /// If a value cannot be written, for which there is no known reason.
    pub fn rows(&self, images: &[Exported]) -> Result<Vec<Vec<Cell>>, Error> {
        let failed = |why: String| {
            let image_id =
                images.first().map_or(String::new(), |of| of.image.score.image_id.clone());
            Error::from(ExportError::Encode { what: "the row", image_id, why })
        };
        let scores = images.iter().map(|of| of.image.score.clone()).collect::<Vec<_>>();
        let collected = self.own.iter().map(|column| {
            let array = (column.collect)(&scores).map_err(|error| failed(error.to_string()))?;
            Ok::<_, Error>((column.column_type, array))
        });
        let collected = collected.collect::<Result<Vec<_>, _>>()?;
        let row = |(at, exported): (usize, &Exported)| {
            let text = |value: &Option<String>| value.clone().map_or(Cell::Null, Cell::Text);
            let mut row = vec![Cell::Text(exported.image.category.clone())];
            for (column_type, array) in &collected {
                let cell = cell(*column_type, array, at);
                row.push(cell.ok_or_else(|| failed(format!("a column of {}", array.data_type())))?);
            }
            for name in &self.kept {
                let kept = scores[at].kept.iter().find(|kept| *kept.column == **name);
                row.push(kept.map_or(Cell::Null, |kept| text(&kept.value)));
            }
            row.extend(self.overlay.as_ref().map(|_| text(&exported.overlay)));
            row.extend(self.mask.as_ref().map(|_| text(&exported.mask_file)));
            let (id, date) = self.runs.get(exported.image.run).cloned().unwrap_or_default();
            let shard_id = exported.image.shard_id.clone();
            row.extend([date, id, shard_id].map(Cell::Text));
            Ok(row)
        };
        images.iter().enumerate().map(row).collect()
    }
}

fn cell(column_type: ColumnType, array: &ArrayRef, at: usize) -> Option<Cell> {
    if array.is_null(at) {
        return Some(Cell::Null);
    }
    Some(match column_type {
        ColumnType::Text => Cell::Text(array.as_string_opt::<i32>()?.value(at).to_string()),
        ColumnType::Bool => Cell::Plain(array.as_boolean_opt()?.value(at).to_string()),
        ColumnType::Int32 => {
            Cell::Plain(array.as_primitive_opt::<Int32Type>()?.value(at).to_string())
        }
        ColumnType::Int64 => {
            Cell::Plain(array.as_primitive_opt::<Int64Type>()?.value(at).to_string())
        }
        ColumnType::Float32 => number(
            f64::from(array.as_primitive_opt::<Float32Type>()?.value(at)).is_finite(),
            || format!("{:?}", array.as_primitive::<Float32Type>().value(at)),
        ),
        ColumnType::Float64 => {
            number(array.as_primitive_opt::<Float64Type>()?.value(at).is_finite(), || {
                format!("{:?}", array.as_primitive::<Float64Type>().value(at))
            })
        }
        // No column of scores has these types, but for opaque ones.
        ColumnType::Date | ColumnType::Binary => return None,
    })
}

/// What is no number has no text that CSV and JSON have in common.
fn number(is_finite: bool, text: impl FnOnce() -> String) -> Cell {
    if is_finite { Cell::Plain(text()) } else { Cell::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_fewest_digits_that_name_it() {
        let layout = Layout {
            runs: vec![("r".into(), "2026-11-25".into())],
            own: ScoreRow::COLUMNS.iter().filter(|column| column.name == "score").collect(),
            kept: Vec::new(),
            overlay: None,
            mask: None,
        };
        assert_eq!(layout.names(), ["category", "score", "run_date", "run_id", "shard_id"]);
        for (score, text) in [(0.1f32, "0.1"), (1.0, "1.0"), (1e-30, "1e-30"), (-0.25, "-0.25")] {
            let mut of = Exported::default();
            of.image.score.score = score;
            let rows = layout.rows(&[of]).unwrap();
            assert_eq!(rows[0][1], Cell::Plain(text.into()));
            assert_eq!(text.parse::<f32>().unwrap(), score);
        }
    }
}

//! Rows as CSV (RFC 4180) with a header. Null is an empty field, and so is an empty text.

use super::cells::{Cell, Layout};
use super::target::Sink;
use crate::error::{Error, ExportError};

/// How every file of this kind begins.
pub const START: &str = "category,image_id,uri,width,height,score,";

/// Writes the header.
///
/// # Errors
/// If the place cannot be written.
pub fn begin(sink: &mut Sink, layout: &Layout) -> Result<(), Error> {
    write(sink, layout.names().into_iter().map(str::as_bytes))
}

/// Writes `rows`.
///
/// # Errors
/// As [`begin`].
pub fn add(sink: &mut Sink, rows: &[Vec<Cell>]) -> Result<(), Error> {
    for row in rows {
        let fields = row.iter().map(|cell| match cell {
            Cell::Null => &[][..],
            Cell::Plain(text) | Cell::Text(text) => text.as_bytes(),
        });
        write(sink, fields)?;
    }
    Ok(())
}

fn write<'a>(sink: &mut Sink, fields: impl Iterator<Item = &'a [u8]>) -> Result<(), Error> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let written = writer.write_record(fields).map_err(|error| error.to_string());
    let line = written.and_then(|()| writer.into_inner().map_err(|error| error.to_string()));
    let line = line.map_err(|why| {
        Error::from(ExportError::Encode { what: "a row", image_id: "an image".into(), why })
    });
    sink.write(&line?)
}

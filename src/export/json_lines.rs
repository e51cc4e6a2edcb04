//! Rows as JSON Lines: one object per line, with the same keys in each.

use super::cells::Cell;
use super::target::Sink;
use crate::error::Error;

/// How every file of this kind begins.
pub const START: &str = "{\"category\":\"";

/// What the first line of every file of this kind holds.
pub const KEYS: [&str; 4] =
    ["\"image_id\":\"", "\"uri\":\"", "\"reference_score\":", "\"global_score\":"];

/// Writes `rows`, whose columns have these names.
///
/// # Errors
/// If the place cannot be written.
pub fn add(sink: &mut Sink, names: &[&str], rows: &[Vec<Cell>]) -> Result<(), Error> {
    let names = names.iter().map(|name| quoted(name)).collect::<Vec<_>>();
    for row in rows {
        let mut line = String::from("{");
        for (name, cell) in names.iter().zip(row) {
            if line.len() > 1 {
                line.push(',');
            }
            line.push_str(name);
            line.push(':');
            match cell {
                Cell::Null => line.push_str("null"),
                Cell::Plain(text) => line.push_str(text),
                Cell::Text(text) => line.push_str(&quoted(text)),
            }
        }
        line.push_str("}\n");
        sink.write(line.as_bytes())?;
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

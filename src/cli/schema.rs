//! `filo schema`: one JSON file per table, and JSON Schemas for job files and for documents
//! that the program prints or writes.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::say::say;
use crate::error::Error;
use crate::job::RawJobSpec;
use crate::store::why_unwritable;
use crate::tables::{Stored, Table};
use crate::train::spec::RawTrainSpec;
use crate::weights::bundle::Manifest;
use crate::weights::catalogue::Catalogue;
use crate::weights::inspect::Inspection;

#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {
    /// Folder to write to.
    #[arg(long, default_value = "schemas", value_name = "DIR")]
    out: PathBuf,
}

impl SchemaArgs {
    pub fn run(self) -> Result<u8, Error> {
        for (name, document) in documents() {
            let path = self.out.join(name);
            let failed = |error: std::io::Error| Error::Unwritable {
                path: path.clone(),
                why: why_unwritable(&error),
            };
            std::fs::create_dir_all(&self.out).map_err(failed)?;
            std::fs::write(&path, format!("{document:#}\n")).map_err(failed)?;
            say(path.display())?;
        }
        Ok(0)
    }
}

/// File name and content of every schema.
fn documents() -> Vec<(String, Value)> {
    let mut documents =
        Table::ALL.map(|table| (format!("{}.json", table.as_str()), table_schema(table))).to_vec();
    let job = schemars::schema_for!(RawJobSpec);
    documents.push(("job.schema.json".to_string(), job.to_value()));
    let train = schemars::schema_for!(RawTrainSpec);
    documents.push(("train.schema.json".to_string(), train.to_value()));
    let bundle = schemars::schema_for!(Manifest);
    documents.push(("bundle.schema.json".to_string(), bundle.to_value()));
    let inspection = schemars::schema_for!(Inspection);
    documents.push(("weights-inspect.schema.json".to_string(), inspection.to_value()));
    let catalogue = schemars::schema_for!(Catalogue);
    documents.push(("weights-list.schema.json".to_string(), catalogue.to_value()));
    documents
}

fn table_schema(table: Table) -> Value {
    let columns = table.columns().into_iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.column_type.as_str(),
            "nullable": column.nullable,
            "partition": column.stored == Stored::InFolderName,
            "about": column.about,
        })
    });
    json!({ "table": table.as_str(), "columns": columns.collect::<Vec<_>>() })
}

//! `filo describe`: descriptions of defects from a language model into a file for `--descriptions`;
//! with `--check`, which descriptions of a file ever won on a run.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::say::say;
use super::table;
use crate::describe::wins::{Wins, wins};
use crate::describe::{Endpoint, Key, Question, Rules, describe};
use crate::error::{DescribeError, Error};
use crate::job::RunDate;
use crate::model::filo::descriptions::FORMAT;
use crate::pipeline::identity::{BUILT_IN, descriptions_of};
use crate::source::Category;
use crate::store::{Location, Store, why_unwritable};
use crate::tables::RunReader;

#[derive(Debug, Clone, Args)]
pub struct DescribeArgs {
    /// Category to describe; may be given more than once.
    #[arg(long, value_name = "NAME", required_unless_present = "check")]
    category: Vec<Category>,

    /// URL of an OpenAI-compatible API, such as http://localhost:8080/v1. Its key is read from
    /// FILO_DESCRIBE_KEY or OPENAI_API_KEY.
    #[arg(long, value_name = "URL", required_unless_present = "check")]
    endpoint: Option<String>,

    /// Name of the model at the endpoint.
    #[arg(long, value_name = "NAME", required_unless_present = "check")]
    model: Option<String>,

    /// A few words about the product for the model: what it is made of, how it is made.
    #[arg(long, value_name = "TEXT")]
    about: Option<String>,

    /// Descriptions per category.
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=40))]
    count: u8,

    /// Seed for the model, if the endpoint supports one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Timeout of one answer in seconds.
    #[arg(long, value_name = "S", default_value_t = 120)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,

    /// New file for the descriptions, JSON.
    #[arg(long, value_name = "FILE", default_value = "descriptions.json")]
    out: PathBuf,

    /// Instead of asking, list which descriptions of this file, or of the built-in ones, matched an
    /// image of --run best, and which never did.
    #[arg(long, value_name = "FILE|built-in", requires = "run")]
    check: Option<PathBuf>,

    /// Output of `filo score` with those descriptions.
    #[arg(long, value_name = "URI", requires = "check")]
    run: Option<String>,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl DescribeArgs {
    pub fn run(self) -> Result<u8, Error> {
        match (&self.check, &self.run) {
            (Some(file), Some(run)) => self.check(file, run),
            _ => self.ask(),
        }
    }

    fn ask(&self) -> Result<u8, Error> {
        let (Some(address), Some(model)) = (&self.endpoint, &self.model) else {
            unreachable!("both are required without --check")
        };
        if self.out.exists() {
            return Err(DescribeError::Exists { path: self.out.clone() }.into());
        }
        let timeout = Duration::from_secs(self.timeout);
        let endpoint = Endpoint::new(address, Key::from_environment(), timeout)?;
        let rules = Rules::published()?;
        let date = RunDate::today().to_string();
        let mut file = Map::new();
        file.insert("format".to_string(), FORMAT.into());
        for category in &self.category {
            let question = Question {
                category: category.clone(),
                about: self.about.clone(),
                wanted: self.count.into(),
                model: model.clone(),
                seed: self.seed,
            };
            let described = match describe(&question, &rules, &endpoint, date.clone()) {
                Ok(described) => described,
                Err(error) => {
                    self.keep(&file)?;
                    return Err(error.into());
                }
            };
            if !self.json {
                say(format_args!("{category}: {}", described.details.join(", ")))?;
            }
            file.insert(category.to_string(), json!(described));
        }
        let file = Value::Object(file);
        write_new(&self.out, &format!("{file:#}\n"))?;
        if self.json {
            say(format_args!("{file:#}"))?;
            return Ok(0);
        }
        let (n, out) = (self.category.len(), self.out.display());
        say(format_args!(
            "described {n} {} · {out} · filo score --descriptions {out}",
            if n == 1 { "category" } else { "categories" }
        ))?;
        Ok(0)
    }

    /// Writes the categories that were described before one was not: answers may have cost money.
    fn keep(&self, file: &Map<String, Value>) -> Result<(), Error> {
        let done = file.keys().filter(|key| *key != "format").cloned().collect::<Vec<_>>();
        if done.is_empty() {
            return Ok(());
        }
        write_new(&self.out, &format!("{:#}\n", json!(file)))?;
        let (done, out) = (done.join(", "), self.out.display());
        tracing::warn!("{out} has {done}; ask for the others into another --out");
        Ok(())
    }

    fn check(&self, file: &Path, run: &str) -> Result<u8, Error> {
        let (descriptions, _) =
            descriptions_of(Some(file).filter(|file| *file != Path::new(BUILT_IN)))?;
        let run = RunReader::open(Store::open(&run.parse::<Location>()?)?)?;
        let rows = wins(&run, &descriptions)?;
        if self.json {
            say(json!({ "run_id": run.manifest().run_id, "descriptions": rows }))?;
            return Ok(0);
        }
        say(text(&rows).trim_end())?;
        let never = rows.iter().filter(|row| row.wins == 0 && !row.generic).count();
        let own = rows.iter().filter(|row| !row.generic).count();
        say(format_args!("{never} of {own} descriptions were never the best"))?;
        Ok(0)
    }
}

fn text(rows: &[Wins]) -> String {
    let header = ["description", "category", "wins", "share", "anomalous", "normal", "similarity"];
    let mut lines = vec![header.map(str::to_string).to_vec()];
    for row in rows {
        let own = if row.generic { " (generic)" } else { "" };
        lines.push(vec![
            format!("{}{own}", row.description),
            row.category.clone(),
            row.wins.to_string(),
            format!("{:.1}%", row.share * 100.0),
            row.wins_anomalous.to_string(),
            row.wins_normal.to_string(),
            row.mean_similarity.map_or("–".to_string(), |mean| format!("{mean:.3}")),
        ]);
    }
    table::aligned(&lines)
}

fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => DescribeError::Exists { path: path.into() }.into(),
        _ => Error::Unwritable { path: path.into(), why: why_unwritable(&error) },
    })
}

//! Where the images of runs are. In: runs, and where `--input` says that their images are now. Out: by
//! run the opened place, or why it cannot be read, which is a warning: tables say much without images.

use std::collections::BTreeMap;

use crate::error::{Error, RunsError, TableError};
use crate::source::Input;
use crate::store::Location;
use crate::tables::{RunReader, RunSet};

/// Opens the inputs of the runs of `set`, or `moved`, where all of them are now.
///
/// # Errors
/// If `moved` cannot be opened, or the images are of several places.
pub fn open_inputs(set: &RunSet, moved: Option<&str>) -> Result<Vec<Result<Input, String>>, Error> {
    let places = set.counts().places;
    if let Some(input) = moved {
        if places > 1 {
            return Err(TableError::from(RunsError::SeveralPlaces { places }).into());
        }
        let input = Input::open(&input.parse::<Location>()?)?;
        return Ok(vec![Ok(input); set.runs().len()]);
    }
    // One place is opened, and found to be gone, once.
    let mut opened = BTreeMap::<String, Result<Input, String>>::new();
    let of_runs = set.runs().iter().enumerate().map(|(index, run)| {
        let of_place = opened.entry(set.place(index));
        of_place.or_insert_with(|| open_input(run)).clone()
    });
    Ok(of_runs.collect())
}

/// Where the images of a run are. That place may be gone: then there are tables and charts.
fn open_input(run: &RunReader) -> Result<Input, String> {
    let input = run.manifest().spec.get("input").and_then(|input| input.as_str());
    let Some(input) = input else {
        return Err("the run does not say where its images are".to_string());
    };
    let opened = input.parse::<Location>();
    let opened = opened.and_then(|location| Input::open(&location));
    opened.map_err(|error| {
        tracing::warn!("images are not shown ({error}); say where they are with --input");
        error.to_string()
    })
}

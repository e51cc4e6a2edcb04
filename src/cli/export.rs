//! `filo export`: the tables of a run, or of several as one set, and their images in; files for other
//! programs out.

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::inputs::open_inputs;
use super::runs::{Wanted, run_set};
use super::say::{counted, say};
use crate::error::{Error, ExportError};
use crate::export::{Choice, Done, FileKind, Folder, Request, Target, export};

/// The exit code of `--strict`, as that of `filo score`.
const SOME_FAILED: u8 = 3;

#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Output of `filo score`, a folder or a bucket.
    ///
    /// Given more than once, or as a folder of outputs, or with `*` in a name, the runs count as one
    /// set: of an image that several have, the newest outcome counts.
    #[arg(long, value_name = "URI", required = true)]
    run: Vec<String>,

    /// Write a CSV file with a row per scored image; `-` is stdout.
    ///
    /// It has the columns of the table `scores`, with `is_anomalous` and `threshold` filled in from the
    /// table `thresholds`, the kept columns, and the names of the image's files if --overlays or --masks
    /// is given.
    #[arg(long, value_name = "FILE")]
    csv: Option<String>,

    /// Write the same rows as JSON Lines; `-` is stdout.
    #[arg(long, value_name = "FILE")]
    json_lines: Option<String>,

    /// Write a COCO data set of the images and their predicted masks (run lengths, area, box); `-` is
    /// stdout.
    #[arg(long, value_name = "FILE")]
    coco: Option<String>,

    /// Write a PNG per flagged image: the image with the outline of its mask, the boxes, and heat if the
    /// run kept maps. --all and --top N write those of other images, too.
    #[arg(long, value_name = "DIR")]
    overlays: Option<String>,

    /// Write the predicted mask of each image that has one as a PNG of its size, 0 and 255.
    #[arg(long, value_name = "DIR")]
    masks: Option<String>,

    /// Export flagged images only.
    #[arg(long)]
    flagged: bool,

    /// Export the N images of each category with the highest scores only; with --flagged, those of the
    /// flagged ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,

    /// Write overlays of images that are not flagged, too.
    #[arg(long, conflicts_with_all = ["flagged", "top"])]
    all: bool,

    /// Category to export; may be given more than once [default: all].
    #[arg(long, value_name = "NAME")]
    category: Vec<String>,

    /// Where the images are now, if they have moved since they were scored.
    #[arg(long, value_name = "URI")]
    input: Option<String>,

    /// Take the committed part of runs that are not finished.
    #[arg(long)]
    partial: bool,

    /// Exit with code 3 if an image could not be drawn, or a mask not be exported.
    #[arg(long)]
    strict: bool,
}

const REDRAW: Duration = Duration::from_millis(200);

impl ExportArgs {
    pub fn run(self) -> Result<u8, Error> {
        self.check_places()?;
        let files = [
            (FileKind::Csv, &self.csv),
            (FileKind::JsonLines, &self.json_lines),
            (FileKind::Coco, &self.coco),
        ];
        let files = files.into_iter().filter_map(|(kind, name)| Some((kind, name.as_ref()?)));
        let files = files.map(|(kind, name)| Target::of(kind, name)).collect::<Result<Vec<_>, _>>();
        let files = files?;
        let folder = |flag, name: &Option<String>| {
            name.as_ref().map(|name| Folder::of(flag, name)).transpose()
        };
        let (overlays, masks) =
            (folder("overlays", &self.overlays)?, folder("masks", &self.masks)?);
        let wanted = if self.partial { Wanted::Committed } else { Wanted::Whole };
        let set = run_set(&self.run, wanted)?;
        let inputs = match &overlays {
            Some(_) => open_inputs(&set, self.input.as_deref())?,
            None => Vec::new(),
        };
        if let Some(why) = inputs.iter().find_map(|input| input.as_ref().err())
            && inputs.iter().all(Result::is_err)
        {
            return Err(ExportError::NoImages { why: why.clone() }.into());
        }
        let only_overlays = files.is_empty() && masks.is_none();
        let is_wide = self.all || self.flagged || self.top.is_some();
        let to_stdout = files.iter().any(Target::is_stdout);
        let bar = bar();
        let tell = |done: u64, of: u64| {
            bar.set_length(of);
            bar.set_position(done);
        };
        let done = export(Request {
            set: &set,
            inputs,
            moved: self.input.is_some(),
            categories: &self.category,
            choice: Choice {
                flagged: self.flagged || (only_overlays && !is_wide),
                top: self.top.map(|top| top as usize),
            },
            only_flagged_overlays: !is_wide,
            files,
            overlays,
            masks,
            tell: &tell,
        })?;
        bar.finish_and_clear();
        let line = self.line(&done);
        match to_stdout {
            // Programs read it.
            true => tracing::info!("{line}"),
            false => say(line)?,
        }
        Ok(if self.strict && done.failed > 0 { SOME_FAILED } else { 0 })
    }

    /// What was written.
    fn line(&self, done: &Done) -> String {
        let mut line = format!("exported {} of {}", done.images, counted(done.of, "image"));
        let mut add = |place: &Option<String>, what: String| {
            if let Some(place) = place {
                line.push_str(&format!(" · {} · {what}", crate::store::redact(place)));
            }
        };
        add(&self.csv, counted(done.images, "row"));
        add(&self.json_lines, counted(done.images, "row"));
        add(&self.coco, counted(done.annotations, "annotation"));
        add(&self.overlays, format!("{} PNG", done.overlays));
        add(&self.masks, format!("{} PNG", done.masks));
        if done.failed > 0 {
            line.push_str(&format!(" · {} failed", done.failed));
        }
        line
    }

    /// Something is asked for, and no two things at one place.
    fn check_places(&self) -> Result<(), Error> {
        let named = [
            ("csv", &self.csv),
            ("json-lines", &self.json_lines),
            ("coco", &self.coco),
            ("overlays", &self.overlays),
            ("masks", &self.masks),
        ];
        let named = named.into_iter().filter_map(|(flag, name)| Some((flag, name.as_ref()?)));
        let named = named.collect::<Vec<_>>();
        if named.is_empty() {
            return Err(ExportError::NothingAsked.into());
        }
        let plain = |name: &str| name.trim_end_matches('/').to_string();
        for (at, (first, name)) in named.iter().enumerate() {
            let same = named[..at].iter().find(|(_, other)| plain(other) == plain(name));
            if let Some((second, _)) = same {
                let uri = crate::store::redact(name);
                return Err(ExportError::SamePlace { first: second, second: first, uri }.into());
            }
        }
        Ok(())
    }
}

/// How far it is, on a terminal; nothing elsewhere.
fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:16} {pos}/{len} images");
    bar.set_style(style.unwrap_or(ProgressStyle::default_bar()));
    bar.enable_steady_tick(REDRAW);
    bar
}

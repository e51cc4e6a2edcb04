//! Runs the real program on small images, and reads back what it wrote. In: a temporary folder
//! that a test fills. Out: exit code, both outputs, and the committed rows of every table.
//! Whatever is run, a panic fails the test, and so does a program that does not end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use filo::pipeline::pixel_groups::PixelGroups;
use filo::store::{Location, Store};
use filo::tables::{FailureRow, Manifest, MaskRow, PartialRow, Row, RunReader, ScoreRow};
use image::{GrayImage, Luma, Rgb, RgbImage};
use tempfile::TempDir;

/// Tiny random weights: they detect nothing.
pub const WEIGHTS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/clip_tiny/filo_tiny.safetensors");

/// Far more than any of these runs takes.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A temporary folder: images in `in/`, tables in `out/`.
pub struct Folder(TempDir);

/// How a program ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// All committed rows of a run that come from images, each table sorted by category and name.
/// Measured times are set to zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub scores: Vec<ScoreRow>,
    pub masks: Vec<MaskRow>,
    pub failures: Vec<FailureRow>,
    pub partials: BTreeMap<String, Vec<PartialRow>>,
}

impl Folder {
    pub fn new() -> Self {
        Folder(TempDir::with_prefix("filo test ").expect("a temporary folder"))
    }

    /// A path below the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Writes a colour image whose content follows from its name, in the format of its ending.
    pub fn picture(&self, name: &str, width: u32, height: u32) {
        let seed = name.bytes().fold(7u32, |seed, byte| seed.wrapping_mul(31) + u32::from(byte));
        let picture = RgbImage::from_fn(width, height, |x, y| {
            Rgb([x.wrapping_mul(seed), y.wrapping_mul(seed >> 8), x ^ y].map(|value| value as u8))
        });
        self.file(name, "");
        picture.save(self.path(name)).unwrap();
    }

    /// Writes a mask whose left half is defect.
    pub fn mask(&self, name: &str, width: u32, height: u32) {
        let mask = GrayImage::from_fn(width, height, |x, _| Luma([255 * u8::from(x < width / 2)]));
        self.file(name, "");
        mask.save(self.path(name)).unwrap();
    }

    /// `filo score` from `in/` to `out`, with the tiny weights and a fixed day.
    pub fn score_to(&self, out: &str) -> Command {
        let mut command = filo("score");
        command.arg("--input").arg(self.path("in")).arg("--output").arg(self.path(out));
        command.args(["--weights", WEIGHTS, "--run-date", "2026-11-24"]);
        command
    }

    /// `filo score` from `in/` to `out/`.
    pub fn score(&self) -> Command {
        self.score_to("out")
    }
}

/// The program, untouched by the environment of whoever runs the tests. Mesa's Vulkan driver writes to
/// stderr where a desktop's variable is missing.
pub fn filo(subcommand: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_filo"));
    command.env_clear().env("XDG_RUNTIME_DIR", std::env::temp_dir()).arg(subcommand);
    command
}

/// Runs the Python of `FILO_PYTHON`, else `python3`, with what `arguments` add.
///
/// # Panics
/// If it cannot be started, or lacks packages.
pub fn python(arguments: impl FnOnce(&mut Command)) -> Output {
    python_of("FILO_PYTHON", arguments)
}

/// Runs the Python that an environment variable names, else `python3`, with what `arguments` add.
///
/// # Panics
/// If it cannot be started, or lacks packages.
pub fn python_of(variable: &str, arguments: impl FnOnce(&mut Command)) -> Output {
    let python = std::env::var(variable).unwrap_or_else(|_| "python3".to_string());
    let mut command = Command::new(&python);
    arguments(&mut command);
    let output = command.output().unwrap_or_else(|error| {
        panic!("{python} cannot be started ({error}): run scripts/test, which sets {variable}")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !stderr.contains("ModuleNotFoundError"),
        "{python} lacks packages: run scripts/test, which installs them and sets {variable}\n{stderr}"
    );
    assert!(output.status.success(), "{}\n{stderr}", String::from_utf8_lossy(&output.stdout));
    output
}

/// Runs `command` to its end.
pub fn run(command: Command) -> Ended {
    let output = assert_cmd::Command::from_std(command).timeout(LIMIT).output().unwrap();
    Ended::of(output)
}

impl Ended {
    /// Checks that the program did not panic.
    pub fn of(output: std::process::Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(!stderr.contains("panicked"), "{stderr}");
        let code = output.status.code();
        let code = code.unwrap_or_else(|| panic!("ended by a signal or after {LIMIT:?}: {stderr}"));
        Ended { code, stdout, stderr }
    }

    /// Checks that all went well; returns the last line on stdout.
    pub fn last_line(&self) -> &str {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout.lines().last().unwrap_or_default()
    }

    /// Checks that all went well; tells whether so many images were scored, and so many failed.
    pub fn has_scored(&self, images: usize, failed: usize) -> bool {
        let plural = if images == 1 { "" } else { "s" };
        let line = self.last_line();
        line.starts_with(&format!("scored {images} image{plural} · "))
            && line.contains(&format!(" · {failed} failed in "))
    }

    /// Checks that the run was refused with one line that holds each of `parts`.
    pub fn refused(&self, parts: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (2, ""), "{}", self.stderr);
        let last = self.stderr.lines().last().unwrap_or_default();
        let errors = self.stderr.lines().filter(|line| line.starts_with("filo: "));
        assert_eq!(errors.collect::<Vec<_>>(), [last], "one line says what is wrong");
        for part in parts {
            assert!(last.contains(part), "{part:?} is not in: {last}");
        }
    }
}

/// The files of a folder and when each was written.
pub fn written(folder: &Path) -> Vec<(OsString, SystemTime)> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut entries = entries
        .map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap()))
        .collect::<Vec<_>>();
    entries.sort();
    entries
}

/// The run in an output folder.
pub fn reader(out: &Path) -> RunReader {
    reader_at(&Location::local(out))
}

fn reader_at(out: &Location) -> RunReader {
    RunReader::open(Store::open(out).unwrap()).unwrap()
}

/// The manifest of a finished run.
pub fn manifest(out: &Path) -> Manifest {
    finished(&reader(out))
}

fn finished(run: &RunReader) -> Manifest {
    let manifest = run.manifest().clone();
    let success = run.store().exists("_SUCCESS").unwrap();
    assert!(manifest.totals.is_some() && success, "the run is finished");
    manifest
}

/// The rows of a finished run; `listed` images are all in scores or failures, and once.
pub fn rows(out: &Path, listed: usize) -> Rows {
    rows_at(&Location::local(out), listed)
}

/// As [`rows`], wherever the run is.
pub fn rows_at(out: &Location, listed: usize) -> Rows {
    let run = reader_at(out);
    let totals = finished(&run).totals.expect("checked");
    assert_eq!(totals.entries as usize, listed, "images that the run listed");
    let mut scores = all::<ScoreRow>(&run);
    for row in scores.iter_mut() {
        (row.ms_fetch, row.ms_decode, row.ms_infer) = (None, None, 0.0);
    }
    let rows = Rows {
        scores,
        masks: all(&run),
        failures: all(&run),
        partials: run
            .categories()
            .into_iter()
            .map(|category| (category.to_string(), counts(&run, category)))
            .collect(),
    };
    let scored = rows.scores.iter().map(|row| &row.image_id);
    let mut names = scored.chain(rows.failures.iter().map(|row| &row.image_id)).collect::<Vec<_>>();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), listed, "distinct names in scores and failures");
    assert_eq!(rows.scores.len() + rows.failures.len(), listed, "scores and failures");
    rows
}

impl Rows {
    /// What an image's score, label and kind are, by a name that is the same in two inputs.
    pub fn numbers(&self, name: impl Fn(&str) -> String) -> BTreeMap<String, String> {
        let score = self.scores.iter().map(|row| {
            let numbers = (row.score, row.global_score, row.map_max, row.label, &row.kind);
            (name(&row.image_id), format!("{numbers:?}"))
        });
        score.collect()
    }

    /// Code and message of the one failure.
    pub fn only_failure(&self) -> &FailureRow {
        let [failure] = self.failures.as_slice() else { panic!("{:#?}", self.failures) };
        failure
    }
}

/// Rows of all categories, by category and name.
fn all<R: Row + Named>(run: &RunReader) -> Vec<R> {
    let mut rows = Vec::new();
    for category in run.categories() {
        let mut of_category = run.rows::<R>(category).unwrap();
        of_category.sort_by(|a, b| a.name().cmp(b.name()));
        rows.extend(of_category);
    }
    rows
}

/// Sketches of all shards of a category as one per kind.
fn counts(run: &RunReader, category: &str) -> Vec<PartialRow> {
    let mut groups = PixelGroups::default();
    for row in run.rows::<PartialRow>(category).unwrap() {
        groups.add_row(row).unwrap();
    }
    groups.into_rows()
}

/// A row about one image.
trait Named {
    fn name(&self) -> &str;
}

impl Named for ScoreRow {
    fn name(&self) -> &str {
        &self.image_id
    }
}

impl Named for MaskRow {
    fn name(&self) -> &str {
        &self.image_id
    }
}

impl Named for FailureRow {
    fn name(&self) -> &str {
        &self.image_id
    }
}

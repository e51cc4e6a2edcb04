//! Inputs that fuzzing found, and what was wrong with them. Beside them as first inputs of the targets:
//! `fuzz/seeds/*/found_*`.

use std::collections::BTreeSet;
use std::io::{Cursor, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use filo::job::{JobSpec, RawJobSpec};
use filo::source::{ArchiveKind, Input, LayoutChoice, ListOptions, list, read_archive};
use filo::store::Location;
use filo::weights::Checkpoint;

fn seed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name)
}

#[track_caller]
fn assert_one_line(message: &str) {
    assert!(!message.contains(['\n', '\r', '\0']), "{message:?}");
}

#[test]
fn broken_row_groups_of_no_rows_are_failures_of_different_names() {
    let path = seed("parquet/found_groups_of_no_rows.parquet");
    let folder = Location::local(path.parent().unwrap());
    let name = path.file_name().unwrap().to_str().unwrap();
    let file = Input::open(&folder).unwrap().open_file(name, None, None).unwrap();
    let mut names = Vec::new();
    read_archive(
        file,
        ArchiveKind::Parquet,
        &filo::source::Columns::default(),
        1 << 20,
        |member| {
            names.push(member.id);
            ControlFlow::Continue(())
        },
    );
    assert!(names.iter().filter(|name| name.starts_with("(rows ")).count() > 1, "{names:?}");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
}

#[test]
fn a_variable_whose_name_has_several_lines_is_said_in_one() {
    let text = std::fs::read_to_string(seed("jobs/found_name_of_lines.toml")).unwrap();
    let raw = RawJobSpec::from_toml(&text, Path::new("job.toml")).unwrap();
    let message = JobSpec::validate(raw, |_| None).unwrap_err().to_string();
    assert_one_line(&message);
    assert!(message.contains("is not the name of a variable"), "{message}");
}

#[test]
fn a_place_of_several_lines_is_said_in_one() {
    let text = "input = '''oz://a\nb'''\noutput = 'c'";
    let raw = RawJobSpec::from_toml(text, Path::new("job.toml")).unwrap();
    let message = JobSpec::validate(raw, |_| None).unwrap_err().to_string();
    assert_one_line(&message);
    assert!(message.contains("oz://a b: an unknown kind of URI"), "{message}");
}

#[test]
fn keys_and_values_of_several_lines_are_said_in_one() {
    for text in ["strict = '''a\nb'''", "\"a\\nb\" = 1", "device = '''a\nb'''"] {
        let error = RawJobSpec::from_toml(text, Path::new("job.toml")).unwrap_err();
        assert_one_line(&error.to_string());
    }
}

#[test]
fn columns_of_a_table_are_named_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let category = folder.path().join("candle");
    std::fs::create_dir_all(category.join("Data/Images/Normal")).unwrap();
    std::fs::write(category.join("Data/Images/Normal/0.JPG"), "image").unwrap();
    let table = format!("image,\"label\n{}\",mask\n", "long".repeat(200));
    std::fs::write(category.join("image_anno.csv"), table).unwrap();
    let place = Location::local(folder.path());
    let listed =
        list(&place, &ListOptions { layout: LayoutChoice::Visa, ..ListOptions::default() });
    let message = listed.unwrap_err().to_string();
    assert_one_line(&message);
    assert!(message.contains("no column label, found image, label long"), "{message}");
    assert!(message.len() < 500, "{message}");
}

#[test]
fn names_in_a_checkpoint_are_said_in_one_line() {
    // A global of two lines, where a class is expected.
    let pickle = b"\x80\x02}X\x01\x00\x00\x00a(X\x07\x00\x00\x00storage\
                   ctorch\nFloat\rStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQs.";
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("a/data.pkl", stored).unwrap();
    archive.write_all(pickle).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    std::fs::write(&path, archive.finish().unwrap().into_inner()).unwrap();
    let Err(error) = Checkpoint::open(&path) else { panic!("is opened") };
    assert_one_line(&error.to_string());
    assert!(error.to_string().contains("Float Storage"), "{error}");
}

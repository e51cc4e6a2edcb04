//! Images in Parquet files, as pyarrow and Hugging Face write them, are scored as images in
//! folders are, and what is wrong with a row costs that row.

mod support;

use std::collections::BTreeMap;

use support::run::{Folder, Rows, WEIGHTS, filo, python, rows, run};

/// Writes a file with pyarrow: `code` has `pa`, `pq` and `read(name)`, a file below the folder.
fn pyarrow(folder: &Folder, code: &str) {
    let prelude = "import json, sys\nimport pyarrow as pa, pyarrow.parquet as pq\n\
                   read = lambda name: open(name, 'rb').read()\n";
    std::fs::create_dir_all(folder.path("tables")).unwrap();
    python(|command| {
        command.current_dir(folder.path(".")).arg("-c").arg(format!("{prelude}{code}"));
    });
}

/// A folder with the image `p.png` and what `code` writes, see [`pyarrow`].
fn with_table(code: &str) -> Folder {
    let folder = Folder::new();
    folder.picture("p.png", 30, 30);
    pyarrow(&folder, code);
    folder
}

fn score(folder: &Folder, listed: usize) -> (Rows, String) {
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("tables")).arg("--output").arg(folder.path("of-table"));
    command.args(["--weights", WEIGHTS, "--run-date", "2026-11-24"]);
    let ended = run(command);
    ended.last_line();
    (rows(&folder.path("of-table"), listed), ended.stderr)
}

#[test]
fn a_table_as_hugging_face_writes_it_gives_the_rows_of_its_pictures() {
    let folder = Folder::new();
    folder.picture("in/nut/test/good/g.png", 40, 30);
    folder.picture("in/nut/test/crack/c.jpg", 50, 31);
    folder.mask("in/nut/ground_truth/crack/c_mask.png", 50, 31);
    run(folder.score()).last_line();
    let of_files = rows(&folder.path("out"), 2);

    pyarrow(
        &folder,
        r#"
file = lambda path, name: {"bytes": read(path), "path": name}
columns = {
    "image": [file("in/nut/test/crack/c.jpg", "c.jpg"), file("in/nut/test/good/g.png", "g.png")],
    "mask": [file("in/nut/ground_truth/crack/c_mask.png", None), None],
    "label": pa.array([1, 0], pa.int8()),
    "category": pa.array(["nut", "nut"]).dictionary_encode(),
    "somebody's": [[1, 2], []],
}
table = pa.table(columns)
features = {"label": {"names": ["good", "crack"], "_type": "ClassLabel"}}
header = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
pq.write_table(table.replace_schema_metadata(header), "tables/t.parquet", row_group_size=1)
"#,
    );
    let (of_table, log) = score(&folder, 2);
    assert!(log.contains("layout parquet: 1 Parquet files"), "{log}");
    let in_table = |id: &str| id.strip_prefix("t.parquet/").unwrap().to_string();
    let in_folder = |id: &str| id.rsplit('/').next().unwrap().to_string();
    assert_eq!(of_table.numbers(in_table), of_files.numbers(in_folder));
    assert!(of_table.partials == of_files.partials, "pixel counts differ");
    assert!(of_table.scores[0].uri.ends_with("/tables/t.parquet/c.jpg"));
}

#[test]
fn what_is_wrong_with_a_row_costs_that_row() {
    let folder = with_table(
        r#"
p = read("p.png")
columns = {
    "image": [p, None, b"no picture", p, p, p],
    "mask": [None, None, None, b"no mask", None, None],
    "label": ["good", "good", "crack", "crack", "odd", None],
    "category": ["a", "a", "a", "a", "__all__", None],
}
pq.write_table(pa.table(columns), "tables/line.parquet", compression="gzip")
pq.write_table(pa.table({"text": ["none"]}), "tables/other.parquet")
open("tables/cut.parquet", "wb").write(read("tables/line.parquet")[:-9])
"#,
    );
    let (rows, _) = score(&folder, 8);
    let failures = rows.failures.iter().map(|row| (row.image_id.as_str(), row.code.as_str()));
    let expected = [
        ("cut.parquet/(all)", "corrupt_archive"),
        ("line.parquet/0000001", "corrupt_archive"),
        ("line.parquet/0000002", "unknown_format"),
        ("line.parquet/0000003", "mask_corrupt"),
        ("other.parquet/(all)", "corrupt_archive"),
    ];
    assert_eq!(failures.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
    let other = rows.failures.iter().find(|row| row.image_id.starts_with("other")).unwrap();
    assert!(other.message.contains("no column `image`"), "{}", other.message);
    let scored = rows.scores.iter().map(|row| (row.image_id.as_str(), row.label));
    // A category that cannot be a name and a label that is not understood cost no image.
    let expected = [
        ("line.parquet/0000000", Some(false)),
        ("line.parquet/0000004", None),
        ("line.parquet/0000005", None),
    ];
    assert_eq!(scored.collect::<Vec<_>>(), expected);
}

#[test]
fn a_row_group_that_cannot_be_decoded_costs_its_rows_and_no_others() {
    let folder = with_table(
        r#"
p = read("p.png")
pq.write_table(pa.table({"image": [p] * 6}), "tables/t.parquet", row_group_size=2,
               compression="none", use_dictionary=False)
group = pq.ParquetFile("tables/t.parquet").metadata.row_group(1).column(0)
data = bytearray(read("tables/t.parquet"))
# The header of the page: nothing can be made of it.
data[group.data_page_offset:group.data_page_offset + 8] = b"\xff" * 8
open("tables/t.parquet", "wb").write(data)
"#,
    );
    let (rows, _) = score(&folder, 5);
    assert_eq!(rows.only_failure().image_id, "t.parquet/(rows 2-3)");
    assert_eq!(rows.scores.len(), 4);
}

#[test]
fn labels_and_columns_as_others_write_them_are_understood() {
    let folder = with_table(
        r#"
p = read("p.png")
labels = {
    "bytes": pa.array([b"good", b"crack", b"?", None], pa.binary()),
    "floats": pa.array([0.0, 1.0, 0.7, None], pa.float64()),
    "truths": pa.array([False, True, None, None], pa.bool_()),
    "small": pa.array([0, 1, -1, 2], pa.int8()),
    "lists": pa.array([[0], [0, 1], [], None], pa.list_(pa.int64())),
    "large": pa.array(["Normal", "NG", "banana", ""], pa.large_string()),
    "dictionary": pa.array(["OK", "bad", "n/a", None]).dictionary_encode(),
}
for name, label in labels.items():
    pq.write_table(pa.table({"img": [p] * 4, "label": label}), f"tables/{name}.parquet")
pq.write_table(pa.table({"Photo": [p], "mask_image": [p]}), "tables/photo.parquet")
pq.write_table(pa.table({"front": [p], "back": [p]}), "tables/two.parquet")
"#,
    );
    let (rows, log) = score(&folder, 30);
    for name in ["bytes", "floats", "truths", "small", "lists", "large", "dictionary"] {
        let of = rows.scores.iter().filter(|row| row.image_id.starts_with(name));
        let labels = of.map(|row| row.label).collect::<Vec<_>>();
        assert_eq!(labels, [Some(false), Some(true), None, None], "{name}");
    }
    assert_eq!(rows.only_failure().image_id, "two.parquet/(all)");
    assert!(log.contains("labels that are not understood"), "{log}");
}

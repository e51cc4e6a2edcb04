//! A table that lists images (`--layout table`), as a plant's database exports it: each row is scored or
//! fails, images may be anywhere, and columns that are kept stand in `scores`.

mod support;

use std::path::Path;

use filo::error::FailureCode;
use filo::source::{
    Columns, Entry, Layout, LayoutChoice, ListOptions, Listing, MaskSource, Sample, list,
};
use filo::store::Location;
use proptest::prelude::*;
use support::run::{Folder, WEIGHTS, filo, python, rows, run};
use support::s3;

fn listed(table: &Path) -> Listing {
    list(&Location::local(table), &ListOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn entries(listing: &Listing) -> impl Iterator<Item = &Entry> {
    listing.shards.iter().flat_map(|shard| &shard.entries)
}

fn samples(listing: &Listing) -> Vec<&Sample> {
    let mut samples = Vec::new();
    for entry in entries(listing) {
        let Entry::Sample(sample) = entry else { panic!("{entry:?}") };
        samples.push(sample);
    }
    samples
}

/// What a listing says of an image: its id, its file, label, kind and category.
fn said(sample: &Sample) -> (&str, &str, Option<&str>, Option<&str>, &str) {
    let label = sample.label.map(|label| label.as_str());
    (&sample.image_id, sample.file(), label, sample.kind.as_deref(), sample.category.as_str())
}

fn with_images(names: &[&str]) -> Folder {
    let folder = Folder::new();
    for name in names {
        folder.picture(name, 20, 20);
    }
    folder
}

/// The same table in each of its forms, made by Python.
#[test]
fn csv_json_lines_and_parquet_say_the_same() {
    let folder = with_images(&["in/a.png", "in/b.png", "elsewhere/c.png"]);
    let elsewhere = folder.path("elsewhere/c.png");
    let rows = format!(
        r#"[
    {{"image": "a.png", "category": "nut", "label": 0, "kind": None, "id": "A", "mask": None}},
    {{"image": "b.png", "category": "nut", "label": 1, "kind": "crack", "id": None, "mask": "m.png"}},
    {{"image": {elsewhere:?}, "category": "", "label": None, "kind": None, "id": None, "mask": None}},
]"#
    );
    python(|command| {
        command.current_dir(folder.path("in")).arg("-c").arg(format!(
            "import csv, json, pyarrow as pa, pyarrow.parquet as pq\nrows = {rows}\n\
             with open('t.csv', 'w', newline='') as f:\n    \
             w = csv.DictWriter(f, rows[0]); w.writeheader(); w.writerows(rows)\n\
             with open('t.jsonl', 'w') as f:\n    f.writelines(json.dumps(r) + '\\n' for r in rows)\n\
             pq.write_table(pa.Table.from_pylist(rows), 't.parquet')\n\
             with open('s.csv', 'w', encoding='utf-8-sig', newline='') as f:\n    \
             w = csv.writer(f, delimiter=';'); w.writerow([k.upper() for k in rows[0]])\n    \
             w.writerows(r.values() for r in rows); w.writerow([''] * 6)\n"
        ));
    });
    for table in ["t.csv", "t.jsonl", "t.parquet", "s.csv"] {
        let listing = listed(&folder.path("in").join(table));
        assert_eq!(listing.layout, Layout::Table, "{table}");
        let samples = samples(&listing);
        let found = samples.iter().map(|sample| said(sample)).collect::<Vec<_>>();
        let elsewhere = elsewhere.to_str().unwrap();
        let uri = format!("file://{}", elsewhere.replace(' ', "%20"));
        assert_eq!(
            found,
            [
                (elsewhere, &*uri, None, None, "in"),
                ("A", "a.png", Some("normal"), None, "nut"),
                ("b.png", "b.png", Some("anomalous"), Some("crack"), "nut"),
            ],
            "{table}"
        );
        assert_eq!(samples[1].mask, MaskSource::AllNormal);
        assert_eq!(samples[2].mask, MaskSource::Files(["m.png".into()].into()));
        assert!(samples.iter().all(|sample| sample.version.is_some()), "files were not looked at");
    }
}

#[test]
fn every_row_is_an_image_or_a_failure() {
    let folder = with_images(&["in/a.png", "in/b.png", "in/c.png"]);
    folder.file(
        "in/t.csv",
        b"id,image,label\n\
          ,a.png,ok\n\
          ,a.png,ok\n\
          ,lost.png,ok\n\
          ,b.png,ok\n\
          ,b.png,ng\n\
          7,a.png,ok\n\
          7,c.png,ok\n\
          ,,ok\n\
          ,C:\\img\\a.png,ok\n\
          ,https://user:sesame@host/x.png?sig=sesame,ok\n\
          ,a.png\n\
          ,s3://box/a//b.png,ok\n\
          \xff,c.png,ok\n\
          ,,\n\
          odd,c.png,banana\n",
    );
    let listing = listed(&folder.path("in/t.csv"));
    let found = entries(&listing).map(|entry| match entry {
        Entry::Rejected(of) => {
            let Some(uri) = &of.uri else { panic!("{} has no URI", of.image_id) };
            assert!(!format!("{uri}{:?}{}", of.failure, of.image_id).contains("sesame"));
            (of.image_id.as_ref(), Some(of.failure.code))
        }
        other => (other.image_id(), None),
    });
    let (unreadable, twice) = (Some(FailureCode::Unreadable), Some(FailureCode::DuplicateName));
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            ("(line 12)", unreadable),
            ("(line 14)", unreadable),
            ("(line 9)", unreadable),
            ("7", twice),
            ("7 (2)", twice),
            ("C:\\img\\a.png", unreadable),
            ("a.png", None),
            ("b.png", twice),
            ("https://***@host/x.png?***", unreadable),
            ("lost.png", unreadable),
            ("odd", None),
            ("s3://box/a//b.png", unreadable),
        ]
    );
    assert_eq!(listing.ignored["(repeated row)"], 1);
    assert_eq!(listing.ignored["(empty row)"], 1);
}

#[test]
fn kept_columns_stand_in_scores_and_survive_a_retry() {
    let folder = with_images(&["in/a.png", "in/b.png"]);
    folder.file(
        "in/t.csv",
        "image,category,Serial No,speed\na.png,nut,\"S,1\",1.5\nb.png,nut,,2\nc.png,nut,S3,3\n",
    );
    let score = |extra: &[&str]| {
        let mut command = filo("score");
        command.arg("--input").arg(folder.path("in/t.csv")).arg("--output").arg(folder.path("out"));
        command.args(["--weights", WEIGHTS, "--keep", "Serial No,speed"]).args(extra);
        run(command)
    };
    let kept = || {
        let found = rows(&folder.path("out"), 3);
        let of = |row: &filo::tables::ScoreRow| {
            let kept = row.kept.iter().map(|kept| (kept.column.to_string(), kept.value.clone()));
            (row.image_id.clone(), kept.collect::<Vec<_>>())
        };
        found.scores.iter().map(of).collect::<Vec<_>>()
    };
    let expected = |id: &str, serial: Option<&str>, speed: &str| {
        let serial = ("Serial No".to_owned(), serial.map(str::to_owned));
        (id.to_owned(), vec![serial, ("speed".to_owned(), Some(speed.to_owned()))])
    };
    score(&[]).last_line();
    let first = [expected("a.png", Some("S,1"), "1.5"), expected("b.png", None, "2")];
    assert_eq!(kept(), first);
    let text = python(|command| {
        command.current_dir(folder.path("out")).arg("-c").arg(
            "import duckdb\nprint(duckdb.sql('select \"Serial No\", speed from \
             read_parquet(\"scores/**/*.parquet\") order by image_id').fetchall())",
        );
    });
    let text = String::from_utf8(text.stdout).unwrap();
    assert_eq!(text.trim(), "[('S,1', '1.5'), (None, '2')]");

    folder.picture("in/c.png", 20, 20);
    score(&["--retry-failed"]).last_line();
    let [a, b] = first;
    assert_eq!(kept(), [a, b, expected("c.png", Some("S3"), "3")]);
}

#[test]
fn what_is_wrong_with_a_table_is_said_before_anything_is_scored() {
    let folder = with_images(&["in/a.png"]);
    let tables: [(&str, &[u8], &str); 13] = [
        ("empty.csv", b"", "no column `image` or `uri`"),
        ("other.csv", b"serial,speed\n1,2\n", "found serial, speed; --image-column names it"),
        ("rows.jsonl", b"{\"speed\": 1}\n[]\n", "no row names an image"),
        ("text.jsonl", b"hello\n", "no row names an image"),
        ("utf16.csv", b"\xff\xfei\0m\0", "save the table as UTF-8"),
        ("none.csv", b"image\n", "no row names an image"),
        ("quote.csv", b"image,label\na.png,\"ok\nb.png,ok\n", "line 2: a quote that is opened"),
        ("first.csv", b"image,label\n\na.png,ok\n\"b.png,ok\nc.png,ok", "line 4: a quote"),
        ("head.csv", b"image,\"label\na.png,ok\n", "the first line: a quote"),
        ("twice.csv", b"image,label,Label\na.png,ok,ng\n", "several columns are called `label`"),
        ("inch.csv", b"image,note\na.png,5\" pipe\n", ""),
        ("broken.parquet", b"PAR1PAR1", "Parquet"),
        ("keep.csv", b"image\na.png\n", "no column `speed`, found image"),
    ];
    for (name, bytes, why) in tables {
        folder.file(&format!("in/{name}"), bytes);
        let options = ListOptions {
            layout: LayoutChoice::Table,
            columns: Columns {
                keep: if name == "keep.csv" { vec!["speed".to_owned()] } else { Vec::new() },
                image: None,
            },
            ..ListOptions::default()
        };
        match list(&Location::local(folder.path("in").join(name)), &options) {
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(why) && error.contains(name), "{name}: {error}");
            }
            // A quote inside a cell opens nothing.
            Ok(listing) => assert_eq!((name, entries(&listing).count()), ("inch.csv", 1)),
        }
    }
    let mut long = b"image,label\na.png,\"".to_vec();
    long.resize(3 << 20, b'x');
    folder.file("in/long.csv", long);
    let error = list(&Location::local(folder.path("in/long.csv")), &ListOptions::default());
    assert!(error.unwrap_err().to_string().contains("is a quote not closed?"));
}

#[test]
fn columns_of_other_names_are_taken_where_they_are_named_or_plain() {
    let folder = with_images(&["in/a.png", "in/b.png"]);
    folder.file("in/usual.csv", "serial,File_Path\n1,a.png\n2,b.png\n");
    folder.file("in/named.csv", "before,after\na.png,b.png\n");
    let ids = |listing: &Listing| {
        entries(listing).map(|entry| entry.image_id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&listed(&folder.path("in/usual.csv"))), ["a.png", "b.png"]);
    let columns = Columns { image: Some("after".to_owned()), keep: Vec::new() };
    let options = ListOptions { columns, ..ListOptions::default() };
    let listing = list(&Location::local(folder.path("in/named.csv")), &options).unwrap();
    assert_eq!(ids(&listing), ["b.png"]);
    // A layout without columns has none to keep or to name.
    let error = list(&Location::local(folder.path("in/a.png")), &options).unwrap_err().to_string();
    assert!(
        error.starts_with("--image-column: an input of layout folder has no columns"),
        "{error}"
    );
}

#[test]
fn names_that_scores_has_already_cannot_be_kept() {
    let folder = with_images(&["in/a.png"]);
    for (keep, why) in [
        ("Score", "is a column that `scores` has of its own"),
        ("run_date", "is a column that `scores` has of its own"),
        ("a,A", "is named twice"),
        ("a,,b", "is no name of a column"),
    ] {
        let mut command = folder.score_to("out");
        command.args(["--keep", keep]);
        run(command).refused(&["`keep`", why]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Images in = entries out, whatever the rows are.
    #[test]
    fn no_row_is_lost(rows in prop::collection::vec(
        (0usize..12, prop::option::of(0usize..4), 0usize..5), 1..30,
    )) {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..6 {
            std::fs::write(dir.path().join(format!("{n}.png")), "x").unwrap();
        }
        let places = |n: usize| match n {
            0..8 => format!("{n}.png"),
            8 => "../out.png".to_owned(),
            9 => "s3://box/9.png".to_owned(),
            10 => "ftp://host/10.png".to_owned(),
            _ => String::new(),
        };
        let labels = ["ok", "ng", "0", "what", ""];
        let mut text = "uri\tid\tlabel\n".to_owned();
        for (place, id, label) in &rows {
            let id = id.map_or(String::new(), |id| format!("id{id}"));
            text.push_str(&format!("{}\t{id}\t{}\n", places(*place), labels[*label]));
        }
        std::fs::write(dir.path().join("t.tsv"), text).unwrap();
        let named = rows.iter().any(|(place, id, _)| *place != 11 || id.is_some());
        let listing = list(&Location::local(dir.path().join("t.tsv")), &ListOptions::default());
        prop_assert_eq!(listing.is_ok(), named);
        let Ok(listing) = listing else { return Ok(()) };
        let ids = entries(&listing).map(Entry::image_id).collect::<std::collections::BTreeSet<_>>();
        prop_assert_eq!(ids.len(), listing.n_entries, "ids are not unique");
        // Every file of a row that can be read is there under some id, or in a failure's URI.
        for (place, _, _) in rows.iter().filter(|(place, ..)| *place < 10) {
            let name = places(*place).trim_start_matches("..").to_owned();
            let there = entries(&listing).any(|entry| match entry {
                Entry::Sample(sample) => sample.file().ends_with(&name),
                Entry::Rejected(of) => of.uri.as_ref().is_some_and(|uri| uri.ends_with(&name)),
                Entry::Archive(_) => false,
            });
            prop_assert!(there, "{} is lost", name);
        }
    }
}

/// Needs an S3 server, see `scripts/test`.
#[test]
fn a_table_and_its_images_may_be_in_any_store() {
    let folder = with_images(&["in/a.png", "in/deep/b.png"]);
    let bucket = s3::bucket_folder("table");
    folder.file("in/lists/relative.csv", "image,id\n../a.png,A\n../deep/b.png,B\n");
    s3::upload(&folder.path("in"), &bucket);
    folder.file("absolute.csv", format!("uri,id\n{bucket}/a.png,A\n{bucket}/deep/b.png,B\n"));
    folder.file("gone.csv", format!("uri,id\n{bucket}/a.png,A\n{bucket}/none.png,B\n"));
    let score = |table: String, out: &str, failed: usize| {
        let mut command = s3::with_server(filo("score"));
        command.args(["--input", &table, "--weights", WEIGHTS, "--category", "nut"]);
        command.arg("--output").arg(folder.path(out));
        let ended = run(command);
        assert!(ended.has_scored(2 - failed, failed), "{}", ended.stderr);
        rows(&folder.path(out), 2)
    };
    let disk = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let name = |id: &str| id.to_owned();
    let of_disk = score(disk("in/lists/relative.csv"), "1", 0).numbers(name);
    let in_bucket = score(format!("{bucket}/lists/relative.csv"), "2", 0);
    assert_eq!(in_bucket.numbers(name), of_disk);
    assert!(in_bucket.scores.iter().all(|row| row.uri.starts_with(&bucket)));
    assert_eq!(score(disk("absolute.csv"), "3", 0).numbers(name), of_disk);
    let gone = score(disk("gone.csv"), "4", 1);
    assert_eq!(gone.only_failure().code, "unreadable");
    assert_eq!(gone.only_failure().uri, format!("{bucket}/none.png"));
}

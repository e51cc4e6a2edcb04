//! A category may be called whatever a disk allows, as long as the folders of the tables can be called
//! so, too; a longer name is refused in one line before anything is scored.

mod support;

use support::run::{Folder, filo, rows, run};

/// Bytes that a name may have where it is part of a folder's name; other signs than letters, digits
/// and a few more count three times there.
const MOST: usize = 230;

#[test]
fn the_longest_names_are_scored_measured_and_shown() {
    let folder = Folder::new();
    // Letters, three bytes each in UTF-8, and signs that the tables escape.
    let names = ["x".repeat(MOST), "螺".repeat(MOST / 3), "%".repeat(MOST / 3)];
    for name in &names {
        folder.picture(&format!("in/{name}/test/good/0.png"), 40, 30);
        folder.picture(&format!("in/{name}/test/crack/0.png"), 40, 30);
        folder.mask(&format!("in/{name}/ground_truth/crack/0_mask.png"), 40, 30);
    }
    run(folder.score()).last_line();
    let rows = rows(&folder.path("out"), 6);
    let mut found = rows.partials.into_keys().collect::<Vec<_>>();
    found.sort();
    let mut names = names.to_vec();
    names.sort();
    assert_eq!((rows.scores.len(), found), (6, names));
    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("out"));
    run(metrics).last_line();
    let mut report = filo("report");
    report.arg("--run").arg(folder.path("out")).arg("--out").arg(folder.path("r.html"));
    run(report).last_line();
}

#[test]
fn a_name_that_no_table_can_have_is_refused_before_anything_is_scored() {
    for name in ["x".repeat(MOST + 1), "螺".repeat(MOST / 3 + 1), "%".repeat(MOST / 3 + 1)] {
        let folder = Folder::new();
        folder.picture("in/nut/0.png", 40, 30);
        folder.picture(&format!("in/{name}/0.png"), 40, 30);
        let ended = run(folder.score());
        ended.refused(&[&name, "is no category name", "1 to 230 bytes"]);
        for word in ["endpoint", "bucket", "AWS"] {
            assert!(!ended.stderr.contains(word), "{}", ended.stderr);
        }
        assert!(!folder.path("out").exists());
    }
}

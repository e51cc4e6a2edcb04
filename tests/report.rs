//! `filo report` over real runs: what the page says is what the tables have, whatever the names of the
//! images; a browser uses it. Needs a Python with playwright in `FILO_PAGE_PYTHON` and a Chromium:
//! `scripts/test` sees to both.

mod support;

use std::path::Path;

use filo::train::synthetic::{Amount, Surface, write_set};
use support::run::{Folder, filo, python_of, rows, run};

/// A name that would run if it were not text.
const HOSTILE: &str = "<img src=x onerror=injected=1>";

fn report(folder: &Folder, out: &str, flags: &[&str]) -> support::run::Ended {
    let mut command = filo("report");
    command.arg("--run").arg(folder.path(out)).arg("--out").arg(folder.path("report.html"));
    command.args(flags);
    run(command)
}

fn page(folder: &Folder) -> String {
    std::fs::read_to_string(folder.path("report.html")).unwrap()
}

/// How often `part` is on the page.
fn times(folder: &Folder, part: &str) -> usize {
    page(folder).matches(part).count()
}

/// What is written where text is hostile.
fn escaped(text: &str) -> String {
    text.replace('<', "&#60;").replace('>', "&#62;").replace('"', "&#34;")
}

/// Scores `in/` with the embedded weights, which find something.
fn score(folder: &Folder, out: &str, flags: &[&str]) -> support::run::Ended {
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
    command.args(["--maps", "f16"]).args(flags);
    run(command)
}

fn rename(folder: &Folder, from: &str, to: &str) {
    std::fs::rename(folder.path(from), folder.path(to)).unwrap();
}

/// The first folder in `folder`, by name, that is not called `good`.
fn kind_in(folder: &Path) -> String {
    let kinds = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut kinds = kinds.map(|name| name.into_string().unwrap()).collect::<Vec<_>>();
    kinds.sort();
    kinds.into_iter().find(|kind| kind != "good").unwrap()
}

#[test]
fn hostile_names_are_text_and_a_browser_can_use_the_page() {
    let folder = Folder::new();
    let surfaces = &[Surface::CeramicTile, Surface::Wood];
    let amount = Amount { surfaces, good: 6, bad: 4, kinds: 2 };
    write_set(&folder.path("in"), 7, amount).unwrap();
    // An image, a kind of defect, a file that is none and a description, all of them HTML.
    rename(&folder, "in/wood/test/good/000.png", &format!("in/wood/test/good/{HOSTILE}.png"));
    let kind = kind_in(&folder.path("in/wood/test"));
    for of in ["test", "ground_truth"] {
        rename(&folder, &format!("in/wood/{of}/{kind}"), &format!("in/wood/{of}/\"{HOSTILE}"));
    }
    folder.file(&format!("in/wood/test/good/{HOSTILE}'broken.png"), "no picture");
    // Categories of different sizes, so that sorting shows.
    std::fs::remove_file(folder.path("in/wood/test/good/001.png")).unwrap();
    let details = [
        "<svg onload=injected=1> knots",
        "<b>dark</b> stain",
        "<i>long</i> scratch",
        "<u>branching</u> crack line",
        "<em>round</em> cavity",
    ];
    folder.file("d.json", serde_json::json!({ "wood": details }).to_string());
    let descriptions = folder.path("d.json");
    let descriptions = ["--descriptions", descriptions.to_str().unwrap()];
    score(&folder, "before", &descriptions).last_line();
    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("before"));
    run(metrics).last_line();
    report(&folder, "before", &[]).last_line();
    let missed = page(&folder);
    assert!(missed.contains("Missed") && !missed.contains("Drift"));
    // With so low a threshold there are false alarms.
    let before = folder.path("before");
    let before = before.to_str().unwrap();
    let low = [descriptions[0], descriptions[1], "--threshold", "0.5"];
    score(&folder, "out", &low).last_line();
    let rows = rows(&folder.path("out"), 2 * (6 + 2 * 4));
    assert_eq!(rows.failures.len(), 1);

    let ended = report(&folder, "out", &["--against", before]);
    assert!(ended.last_line().contains("report.html · "), "{}", ended.stdout);
    let html = page(&folder);
    assert!(!html.contains("<img") && !html.contains("<svg onload"), "something was not escaped");
    for (part, what) in [
        (format!("wood/test/good/{HOSTILE}.png"), "picture"),
        (format!("anomalous: \"{HOSTILE}"), "kind"),
        (format!("{HOSTILE}&#39;broken.png"), "failure"),
    ] {
        assert!(html.contains(&escaped(&part)), "the {what} is not shown");
    }
    let tops = rows.scores.iter().filter_map(|row| row.top_description.as_deref());
    let hostile = tops.filter(|of| of.contains('<')).collect::<Vec<_>>();
    assert!(!hostile.is_empty(), "a description of ours wins");
    assert!(hostile.iter().all(|of| html.contains(&escaped(of)) && !html.contains(*of)));
    for part in [">Drift<", ">alike<", "Most anomalous", "False alarms", "unknown_format"] {
        assert!(html.contains(part), "no {part}");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/page_test.py");
    let used = python_of("FILO_PAGE_PYTHON", |command| {
        command.arg(script).arg("--hostile").arg(folder.path("report.html"));
    });
    let said = String::from_utf8_lossy(&used.stdout);
    assert!(said.contains("report.html: ") && said.contains("as it should be"), "{said}");
}

/// Four images in `in/`, one with a defect.
fn few(folder: &Folder) {
    for name in ["good/a.png", "good/b.jpg", "good/c.png", "crack/d.png"] {
        folder.picture(&format!("in/nut/test/{name}"), 60, 40);
    }
    folder.mask("in/nut/ground_truth/crack/d_mask.png", 60, 40);
}

#[test]
fn pictures_of_an_archive_are_shown_as_those_of_files() {
    let folder = Folder::new();
    few(&folder);
    score(&folder, "out", &[]).last_line();
    report(&folder, "out", &[]).last_line();
    let shown = ["<symbol id=\"p", "class=\"truth\"", "class=\"heat\""];
    let of_files = shown.map(|part| times(&folder, part));
    assert_eq!(of_files, [4, 1, 4]);

    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind) in
        [("a.png", "good"), ("b.jpg", "good"), ("c.png", "good"), ("d.png", "crack")]
    {
        let file = folder.path(&format!("in/nut/test/{kind}/{name}"));
        tar.append_path_with_name(file, format!("nut/{name}")).unwrap();
        let stem = &name[..1];
        folder.file("class", kind);
        tar.append_path_with_name(folder.path("class"), format!("nut/{stem}.cls")).unwrap();
    }
    let mask = folder.path("in/nut/ground_truth/crack/d_mask.png");
    tar.append_path_with_name(mask, "nut/d.mask.png").unwrap();
    folder.file("tars/a.tar", tar.into_inner().unwrap());
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("tars")).arg("--output").arg(folder.path("of-tar"));
    command.args(["--maps", "f16"]);
    run(command).last_line();
    report(&folder, "of-tar", &[]).last_line();
    assert_eq!(shown.map(|part| times(&folder, part)), of_files);
}

#[test]
fn pictures_that_are_gone_or_changed_leave_a_place_and_their_reason() {
    let folder = Folder::new();
    few(&folder);
    score(&folder, "out", &[]).last_line();
    std::fs::remove_file(folder.path("in/nut/test/good/a.png")).unwrap();
    folder.picture("in/nut/test/good/b.jpg", 61, 40);
    folder.file("in/nut/test/good/c.png", "no picture");
    report(&folder, "out", &[]).last_line();
    assert_eq!(times(&folder, "<symbol id=\"p"), 1);
    let html = page(&folder);
    let reasons = ["No such file", "changed after it was listed", "No image: "];
    for reason in reasons {
        assert!(html.contains(reason), "{reason}");
    }

    rename(&folder, "in", "moved");
    let ended = report(&folder, "out", &[]);
    ended.last_line();
    assert!(ended.stderr.contains("say where they are with --input"), "{}", ended.stderr);
    assert_eq!(times(&folder, "<symbol id=\"p"), 0);
    assert!(times(&folder, "No image: ") >= 4 && times(&folder, "role=\"img\"") >= 3);
    let moved = folder.path("moved");
    report(&folder, "out", &["--input", moved.to_str().unwrap()]).last_line();
    // Copies have other times; the size still tells.
    assert!(page(&folder).contains("it is 61 × 40 now and was scored as 60 × 40"));
    assert_eq!(times(&folder, "<symbol id=\"p"), 1);
}

/// What only a page about references has.
const OF_REFERENCES: [&str; 5] = [
    "<span class=\"key references\">",
    " are references; flagged are images above ",
    "images like the references score as high",
    "aria-label=\"Nearest reference ",
    "<dt>reference score</dt>",
];

/// 16 images of one category in `in/`, ten of them good.
fn tiles() -> Folder {
    let folder = Folder::new();
    let amount = Amount { surfaces: &[Surface::CeramicTile], good: 10, bad: 3, kinds: 2 };
    assert_eq!(write_set(&folder.path("in"), 7, amount).unwrap(), 16);
    folder
}

#[test]
fn an_image_stands_beside_its_nearest_reference() {
    let folder = tiles();
    score(&folder, "out", &[]).last_line();
    report(&folder, "out", &[]).last_line();
    let html = page(&folder);
    for part in OF_REFERENCES {
        assert!(html.contains(part), "no {part}");
    }
    assert!(html.contains("16 images of the archive are references"));
    assert!(html.contains("At most 1 % of images like the references score above the threshold."));
    assert!(html.contains("<dt>decision</dt><dd>false-alarm rate 1 %</dd>"));
    // Of 16 images, 8 are the most anomalous ones and 8 the most doubtful ones, each with a neighbour.
    let rows = rows(&folder.path("out"), 16).scores;
    let highest = rows.iter().max_by(|a, b| a.score.total_cmp(&b.score)).unwrap();
    let nearest = highest.reference_id.as_deref().unwrap();
    assert!(html.contains(&format!("aria-label=\"Nearest reference {nearest}\"")));
    // Each image is on the page once, in a gallery or not.
    let drawn = html.matches("<symbol id=\"p").count();
    assert!(drawn <= 16 && !html.contains("not shown: "), "{drawn}");
    assert!(html.matches("<symbol id=\"f").count() <= drawn);

    // A damaged file takes the histogram's outline, and nothing else.
    let file = folder.path("out/_filo/reference/ceramic_tile.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let ended = report(&folder, "out", &[]);
    ended.last_line();
    assert!(ended.stderr.contains("scores of the references are not shown"), "{}", ended.stderr);
    let [legend, others @ ..] = OF_REFERENCES;
    let html = page(&folder);
    assert!(!html.contains(legend) && html.contains("16 images are references"));
    assert!(others.iter().all(|part| html.contains(part)));
}

#[test]
fn a_run_without_references_says_nothing_of_them() {
    let folder = tiles();
    score(&folder, "out", &["--reference", "none"]).last_line();
    report(&folder, "out", &[]).last_line();
    let html = page(&folder);
    for part in OF_REFERENCES.into_iter().chain(["compared with", "p-value"]) {
        assert!(!html.contains(part), "{part}");
    }
    assert!(html.contains("Flagged by the scores of this run: images above "));
    score(&folder, "top", &["--reference", "none", "--flag-top", "25%"]).last_line();
    report(&folder, "top", &[]).last_line();
    let html = page(&folder);
    assert!(html.contains("4 flagged. Flagged are the highest 25 %: images above "));
    assert!(html.contains("Flagged are the highest 25 % of each category."));
}

#[test]
fn references_of_another_place_are_shown_while_they_are_there() {
    let folder = tiles();
    let mut tar = tar::Builder::new(Vec::new());
    for i in 0..10 {
        let name = format!("{i:03}.png");
        let file = folder.path(&format!("in/ceramic_tile/test/good/{name}"));
        tar.append_path_with_name(file, format!("ceramic_tile/{name}")).unwrap();
    }
    folder.file("normals/a.tar", tar.into_inner().unwrap());
    let normals = folder.path("normals");
    score(&folder, "out", &["--reference", normals.to_str().unwrap()]).last_line();
    let shown = |run: &str| {
        report(&folder, run, &[]).last_line();
        let html = page(&folder);
        assert!(html.contains("10 known-good images are references; flagged are images above "));
        let here = html.matches("aria-label=\"Nearest reference a.tar/ceramic_tile/0").count();
        (here, html.matches("not shown: ").count())
    };
    let (here, missing) = shown("out");
    assert!(here >= 8 && missing == 0, "{here} {missing}");
    // Those of an earlier run are where it had them.
    let earlier = folder.path("out");
    score(&folder, "again", &["--reference", earlier.to_str().unwrap()]).last_line();
    assert_eq!(shown("again"), (here, 0));
    rename(&folder, "normals", "gone");
    for run in ["out", "again"] {
        assert_eq!(shown(run), (0, here));
        assert_eq!(times(&folder, "normals: no such file or folder any more</span>"), here);
    }
}

#[test]
fn a_run_without_maps_and_labels_has_a_page() {
    let folder = Folder::new();
    folder.picture("in/a.png", 50, 70);
    folder.picture("in/b.png", 70, 50);
    let mut command = folder.score();
    command.args(["--category", "nut"]);
    run(command).last_line();
    report(&folder, "out", &["--pictures", "1"]).last_line();
    let html = page(&folder);
    for part in ["No figures: they need labelled images", "</b> no label", "None: every listed"] {
        assert!(html.contains(part), "{part}");
    }
    // One image of one gallery, without a layer: nothing is doubtful where nothing is decided.
    assert!(html.matches("class=\"picture\"").count() == 1 && !html.contains("class=\"heat\""));
    assert!(html.matches("oo few images to decide: nothing is flagged.").count() == 2);
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    let folder = Folder::new();
    few(&folder);
    run(folder.score()).last_line();
    let refused = |flags: &[&str], part: &str| {
        let mut command = filo("report");
        command.args(flags);
        let ended = run(command);
        assert_eq!(ended.stdout, "", "{}", ended.stderr);
        assert!(ended.code != 0 && ended.stderr.contains(part), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().filter(|line| line.starts_with("filo: ")).count(), 1);
    };
    let (out, folder_path, images) = (folder.path("out"), folder.path(""), folder.path("in"));
    let (out, below) = (out.to_str().unwrap(), folder_path.to_str().unwrap());
    let images = images.to_str().unwrap();
    refused(&["--run", images], "holds no run");
    refused(&["--run", out, "--category", "bolt"], "--category bolt: the run has no such category");
    refused(&["--run", out, "--out", below], "is a folder: name a file in it");
    refused(&["--run", out, "--out", "/nowhere/report.html"], "there is no such folder");
    refused(&["--run", out, "--out", "s3://bucket/reports/"], "is a folder: name a file in it");
    refused(&["--run", out, "--against", images], "holds no run");
    refused(&["--run", out, "--input", "/nowhere"], "/nowhere: no such file or folder");
}

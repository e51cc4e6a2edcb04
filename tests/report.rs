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
    assert!(has_gallery(&missed, "missed") && !has_gallery(&missed, "false-alarms"));
    assert!(!missed.contains("id=\"drift\"") && !missed.contains("id=\"trend\""));
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
    for part in [">Drift<", ">alike<", "unknown_format"] {
        assert!(html.contains(part), "no {part}");
    }
    assert!(has_gallery(&html, "found") && has_gallery(&html, "false-alarms"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/page_test.py");
    let used = python_of("FILO_PAGE_PYTHON", |command| {
        command.arg(script).arg("--hostile").arg(folder.path("report.html"));
    });
    let said = String::from_utf8_lossy(&used.stdout);
    assert!(said.contains("report.html: ") && said.contains("as it should be"), "{said}");
}

/// Whether a category has images in a gallery, at the threshold in force.
fn has_gallery(html: &str, key: &str) -> bool {
    let mark = format!("data-gallery=\"{key}\"");
    let galleries = html.split(&mark).skip(1);
    let heads = galleries.map(|gallery| gallery.split_once('>').unwrap().0.to_string());
    let heads = heads.collect::<Vec<_>>();
    assert!(!heads.is_empty(), "no gallery {key}");
    heads.iter().any(|head| !head.ends_with(" hidden"))
}

/// The page without what its scripts are and work with.
fn without_scripts(html: &str) -> &str {
    html.split_once("<script type=\"application/json\"").unwrap().0
}

/// What people see of the page: no galleries that are empty, no scripts, no style.
fn visible(html: &str) -> String {
    let body = without_scripts(html).split_once("<body>").unwrap().1;
    let mut parts = body.split("<section class=\"gallery\"");
    let first = parts.next().unwrap().to_string();
    let shown = parts.filter(|part| !part.split_once('>').unwrap().0.ends_with(" hidden"));
    let cut = |part: &str| {
        part.split_once("</section>").map_or(part.to_string(), |(own, _)| own.to_string())
    };
    first + &shown.map(cut).collect::<String>()
}

/// What the page's scripts work with.
fn data(html: &str) -> serde_json::Value {
    let (_, rest) = html.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
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
    // Each image has a neighbour.
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
        assert!(!without_scripts(&html).contains(part), "{part}");
    }
    assert!(html.contains("Flagged by the scores of this run: images above "));
    score(&folder, "top", &["--reference", "none", "--flag-top", "25%"]).last_line();
    report(&folder, "top", &[]).last_line();
    let html = page(&folder);
    assert!(html.contains("16 images, 4 flagged, "));
    assert!(html.contains("Flagged are the highest 25 %: images above "));
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
    assert!(html.contains("Without normal and anomalous labelled images there are no metrics."));
    // What the run lacks is not spoken of.
    for part in [
        "no label",
        "of them anomalous",
        "missed",
        "false alarm",
        "id=\"metrics\"",
        "id=\"failures\"",
    ] {
        assert!(!visible(&html).contains(part), "{part}");
    }
    for layer in ["heat", "truth", "boxes"] {
        let switch = format!("<input type=\"checkbox\" data-layer=\"{layer}\"");
        assert!(!html.contains(&switch), "a switch for {layer}");
    }
    assert!(!html.contains("class=\"heat\""));
    // The one with the highest score, and one to compare with.
    assert_eq!(html.matches("class=\"picture\"").count(), 2);
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

/// Rows of the table of flagged images, by image.
fn listed(html: &str) -> std::collections::BTreeMap<String, serde_json::Value> {
    let rows = data(html)["rows"].as_array().unwrap().clone();
    rows.into_iter().map(|row| (row["id"].as_str().unwrap().to_string(), row)).collect()
}

#[test]
fn the_table_lists_what_the_run_has_flagged_with_links_to_the_files() {
    let folder = tiles();
    for i in 0..10 {
        let file = folder.path(&format!("in/ceramic_tile/test/good/{i:03}.png"));
        folder.file(&format!("normals/ceramic_tile/{i:03}.png"), std::fs::read(file).unwrap());
    }
    let normals = folder.path("normals");
    let rate = ["--reference", normals.to_str().unwrap(), "--false-alarm-rate", "0.05"];
    score(&folder, "out", &rate).last_line();
    report(&folder, "out", &[]).last_line();
    let html = page(&folder);
    let rows = rows(&folder.path("out"), 16);
    let listed = listed(&html);
    let flagged = rows.scores.iter().filter(|row| row.is_anomalous == Some(true));
    let flagged = flagged.collect::<Vec<_>>();
    assert!(!flagged.is_empty());
    let n = listed.values().filter(|row| row["flagged"] == true).count();
    assert_eq!(n, flagged.len());
    let masks = rows.masks.iter().map(|mask| (mask.image_id.as_str(), mask.area));
    let areas = masks.collect::<std::collections::BTreeMap<_, _>>();
    for row in flagged {
        let of = &listed[&row.image_id];
        assert_eq!(of["score"].as_f64().unwrap() as f32, row.score);
        assert_eq!(of["p"].as_f64().map(|p| p as f32), row.p_value);
        assert_eq!(of["link"].as_str(), Some(row.uri.as_str()));
        assert_eq!(of["area"].as_i64(), areas.get(row.image_id.as_str()).copied());
        assert_eq!(of["pixels"], row.width * row.height);
        let words = |key: &str| data(&html)["words"][of[key].as_u64().unwrap() as usize].clone();
        assert_eq!(words("reference"), row.reference_id.clone().unwrap());
        assert_eq!(words("description"), row.top_description.clone().unwrap());
    }
    // What --false-alarm-rate 0.05 would give is what it gave.
    let rules =
        without_scripts(&html).split_once("What another threshold would give</caption>").unwrap().1;
    let cells = |of: &str| {
        let row = rules.split_once(of).unwrap().1.split_once("</tr>").unwrap().0.to_string();
        row.split("<td>")
            .skip(1)
            .map(|td| td.split('<').next().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(cells("in force</th>"), cells("--false-alarm-rate 0.05</code></th>"));
    assert_eq!(cells("in force</th>")[0], n.to_string());
}

#[test]
fn moved_images_are_linked_to_where_they_are_and_images_of_archives_to_the_archive() {
    let folder = Folder::new();
    few(&folder);
    let flag_all = ["--reference", "none", "--threshold", "0.0001"];
    score(&folder, "out", &flag_all).last_line();
    rename(&folder, "in", "moved");
    let moved = folder.path("moved");
    report(&folder, "out", &["--input", moved.to_str().unwrap()]).last_line();
    let listed_moved = listed(&page(&folder));
    assert_eq!(listed_moved.len(), 4);
    for row in listed_moved.values() {
        let link = row["link"].as_str().unwrap();
        assert!(link.contains("/moved/nut/test/") && !link.contains("/in/"), "{link}");
    }
    let mut tar = tar::Builder::new(Vec::new());
    let file = folder.path("moved/nut/test/good/a.png");
    tar.append_path_with_name(file, "nut/a.png").unwrap();
    folder.file("in/a.tar", tar.into_inner().unwrap());
    score(&folder, "of-tar", &flag_all).last_line();
    report(&folder, "of-tar", &[]).last_line();
    for row in listed(&page(&folder)).values() {
        assert!(row["link"].as_str().unwrap().ends_with("/in/a.tar"), "{row}");
    }
}

#[test]
fn a_browser_can_use_a_page_without_labels_and_one_of_many_categories() {
    let folder = Folder::new();
    for category in 0..14 {
        for i in 0..3 {
            folder.picture(&format!("in/line {category:02}/{i}.png"), 40 + 3 * i, 50);
        }
    }
    let mut command = folder.score();
    command.args(["--reference", "none", "--flag-top", "30%"]);
    run(command).last_line();
    report(&folder, "out", &["--pictures", "2"]).last_line();
    let html = page(&folder);
    assert!(html.contains("id=\"jump\"") && html.contains("id=\"overview-table\""));
    for part in ["no label", "missed", "false alarm"] {
        assert!(!visible(&html).contains(part), "{part}");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/page_test.py");
    let used = python_of("FILO_PAGE_PYTHON", |command| {
        command.arg(script).arg(folder.path("report.html"));
    });
    let said = String::from_utf8_lossy(&used.stdout);
    assert!(said.contains("as it should be"), "{said}");
}

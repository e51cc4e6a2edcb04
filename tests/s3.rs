//! A job whose images and tables are in buckets of a real S3 server is the same job: same rows,
//! same metrics, and nothing of what opens the bucket is written anywhere.

mod support;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use filo::store::{Location, Store};
use parquet::arrow::ArrowWriter;
use support::run::{Folder, Rows, WEIGHTS, filo, rows, rows_at, run};
use support::s3::{VARIABLES, bucket_folder, content_type, upload, with_server};

const PICTURES: usize = 8;

/// Two categories with labels and masks, one image that is none.
fn pictures() -> Folder {
    let folder = Folder::new();
    for category in ["metal nut", "wood"] {
        for n in 0..2 {
            folder.picture(&format!("in/{category}/test/good/{n}.png"), 60, 50 + n);
        }
        folder.picture(&format!("in/{category}/test/crack/0+ü.png"), 70, 40);
        folder.mask(&format!("in/{category}/ground_truth/crack/0+ü_mask.png"), 70, 40);
    }
    folder.file("in/wood/test/good/broken.png", "no picture");
    folder.file("in/wood/test/good/empty.png", "");
    folder
}

/// The arguments of a job from one place to another.
fn score(input: &str, output: &str) -> std::process::Command {
    let mut command = filo("score");
    command.args(["--input", input, "--output", output, "--weights", WEIGHTS]);
    command.args(["--run-date", "2026-11-24", "--shard-size", "3"]);
    with_server(command)
}

/// Where an image is differs, what it is does not.
fn without_uris(mut rows: Rows) -> Rows {
    rows.scores.iter_mut().for_each(|row| row.uri.clear());
    rows.failures.iter_mut().for_each(|row| row.uri.clear());
    rows
}

#[test]
fn from_bucket_to_bucket_is_the_same_job_as_on_a_disk() {
    let (folder, bucket) = (pictures(), bucket_folder("score"));
    upload(&folder.path("in"), &format!("{bucket}/in"));
    let (input, output) = (format!("{bucket}/in"), format!("{bucket}/out"));
    let ended = run(score(&input, &output));
    assert!(ended.has_scored(6, 2), "{}", ended.stdout);
    let mut on_disk = folder.score();
    on_disk.args(["--shard-size", "3"]);
    run(on_disk).last_line();

    let of_bucket = rows_at(&output.parse().unwrap(), PICTURES);
    let crack = of_bucket.scores.iter().find(|row| row.image_id.contains('ü')).unwrap();
    assert_eq!(crack.uri, format!("{input}/metal%20nut/test/crack/0+%C3%BC.png"));
    assert_eq!(crack.label, Some(true));
    let (of_bucket, of_disk) =
        (without_uris(of_bucket), without_uris(rows(&folder.path("out"), PICTURES)));
    assert_eq!(of_bucket.failures, of_disk.failures);
    assert!(of_bucket == of_disk, "rows differ");

    let metrics = |place: &str| {
        let mut command = filo("metrics");
        command.args(["--run", place, "--csv"]);
        run(with_server(command)).stdout
    };
    let text = metrics(&output);
    assert!(text.lines().count() == 5, "{text}");
    assert_eq!(text, metrics(folder.path("out").to_str().unwrap()));

    // Again: nothing to do.
    let again = run(score(&input, &output));
    assert!(again.has_scored(6, 2), "{}", again.stdout);
}

#[test]
fn a_tar_in_a_bucket_is_the_tar_of_a_disk() {
    let (folder, bucket) = (pictures(), bucket_folder("tar"));
    let mut tar = tar::Builder::new(Vec::new());
    for category in ["metal nut", "wood"] {
        for name in ["good/0.png", "good/1.png", "crack/0+ü.png"] {
            let file = folder.path(&format!("in/{category}/test/{name}"));
            tar.append_path_with_name(file, format!("{category}/{name}")).unwrap();
        }
    }
    // Larger than one request for a piece of it.
    let mut large = tar::Header::new_gnu();
    large.set_size(9 << 20);
    tar.append_data(&mut large, "large.bin", std::io::repeat(7).take(9 << 20)).unwrap();
    tar.append_path_with_name(folder.path("in/wood/test/good/0.png"), "last.png").unwrap();
    folder.file("files/a b.tar", tar.into_inner().unwrap());
    let (of_bucket, input) = scored_both_ways(&folder, &bucket, 7);
    let last = of_bucket.scores.iter().find(|row| row.image_id == "a b.tar/last.png").unwrap();
    assert_eq!(last.uri, format!("{input}/a%20b.tar/last.png"));
}

#[test]
fn a_table_in_a_bucket_is_the_table_of_a_disk() {
    let (folder, bucket) = (pictures(), bucket_folder("table"));
    let picture = std::fs::read(folder.path("in/wood/test/good/0.png")).unwrap();
    // Bytes that do not shrink: the columns do not fit into one request.
    let mut rng = fastrand::Rng::with_seed(5);
    let other = (0..6 << 20).map(|_| rng.u8(..)).collect::<Vec<_>>();
    let columns: [(&str, ArrayRef); 2] = [
        ("other", Arc::new(BinaryArray::from_iter_values([&other, &other, &other]))),
        ("image", Arc::new(BinaryArray::from_iter_values([&picture, &picture, &picture]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    folder.file("files/a.parquet", writer.into_inner().unwrap());
    scored_both_ways(&folder, &bucket, 3);
}

/// The rows of the images in `files/`, which a bucket and a disk give alike, and the place in the
/// bucket.
fn scored_both_ways(folder: &Folder, bucket: &str, pictures: usize) -> (Rows, String) {
    upload(&folder.path("files"), &format!("{bucket}/files"));
    let (input, output) = (format!("{bucket}/files"), format!("{bucket}/out"));
    let (on_disk, out_on_disk) = (folder.path("files"), folder.path("of-disk"));
    for (from, to) in [
        (input.as_str(), output.as_str()),
        (on_disk.to_str().unwrap(), out_on_disk.to_str().unwrap()),
    ] {
        let ended = run(score(from, to));
        assert!(ended.has_scored(pictures, 0), "{}", ended.stdout);
    }
    let of_bucket = rows_at(&output.parse().unwrap(), pictures);
    let of_disk = without_uris(rows(&out_on_disk, pictures));
    assert!(without_uris(rows_at(&output.parse().unwrap(), pictures)) == of_disk, "rows differ");
    (of_bucket, input)
}

#[test]
fn weights_in_a_bucket_are_copied_once() {
    let (folder, bucket) = (pictures(), bucket_folder("weights"));
    for name in ["filo_tiny.safetensors", "config.json"] {
        let from = Path::new(WEIGHTS).with_file_name(name);
        folder.file(&format!("model/{name}"), std::fs::read(from).unwrap());
    }
    let mut convert = filo("weights");
    convert.args(["convert", "--licence", "none", "--from"]).arg(folder.path("model"));
    convert.arg("--to").arg(folder.path("bundle"));
    run(convert).last_line();
    for name in ["model", "bundle"] {
        upload(&folder.path(name), &format!("{bucket}/{name}"));
    }
    let cache = folder.path("cache");
    let scored = |weights: &str, out: &str| {
        let mut command = filo("score");
        command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
        command.args(["--weights", weights, "--run-date", "2026-11-24"]);
        command.env("FILO_CACHE", &cache);
        run(with_server(command))
    };
    for (there, here) in [("model/filo_tiny.safetensors", "model"), ("bundle", "bundle")] {
        let (remote, out) = (format!("{bucket}/{there}"), format!("remote-{here}"));
        scored(&remote, &out).last_line();
        let local = folder.path(here);
        scored(local.to_str().unwrap(), &format!("local-{here}")).last_line();
        let rows_of = |out: &str| rows(&folder.path(out), PICTURES);
        assert!(rows_of(&out) == rows_of(&format!("local-{here}")), "rows differ");
        let again = scored(&remote, &format!("again-{here}"));
        assert!(!again.stderr.contains("copying weights"), "{}", again.stderr);
    }
    assert_eq!(std::fs::read_dir(cache.join("weights")).unwrap().count(), 2);
    let missing = format!("{bucket}/no.safetensors");
    scored(&missing, "missing").refused(&[&missing, "no such weights file"]);
}

#[test]
fn the_times_of_a_run_add_up_to_all_of_it() {
    let (folder, bucket) = (pictures(), bucket_folder("times"));
    upload(&folder.path("in"), &format!("{bucket}/in"));
    let output = format!("{bucket}/out");
    let mut command = score(&format!("{bucket}/in"), &output);
    command.arg("--timings");
    let ended = run(command);
    assert!(ended.has_scored(6, 2), "{}", ended.stdout);
    // Name and seconds of the lines that are not set in below others.
    let seconds = |line: &str| line[14..23].trim().parse::<f64>().unwrap();
    let table = ended.stdout.lines().skip_while(|line| !line.starts_with("seconds "));
    let table = table.skip(1).take_while(|line| !line.starts_with("limited by"));
    let (stages, phases) = table.partition::<Vec<_>, _>(|line| line.starts_with(' '));
    let [parts @ .., all] = phases.as_slice() else { panic!("{phases:?}") };
    let names = parts.iter().map(|line| line[..14].trim()).collect::<Vec<_>>();
    assert_eq!(names, ["list", "open", "references", "score", "close", "other"]);
    let sum = parts.iter().map(|line| seconds(line)).sum::<f64>();
    assert!((sum - seconds(all)).abs() <= 0.05, "{sum} of {all}");
    let score = seconds(parts[3]);
    // Two blanks, a name, then the time of the stage and what it was made of.
    let numbers =
        |line: &str| line[14..50].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for name in ["fetch", "prepare", "infer", "finish", "commit"] {
        let line = stages.iter().find(|line| line.starts_with(&format!("  {name}"))).unwrap();
        let times = numbers(line).iter().map(|text| text.parse().unwrap()).collect::<Vec<f64>>();
        let [of_stage, busy, waiting, blocked] = times[..] else { panic!("{line}") };
        assert!((busy + waiting + blocked - of_stage).abs() <= 0.03, "{line}");
        assert!(of_stage <= score + 0.02, "{line}: {score}");
    }
    // Whoever asks later finds them in what the worker said last.
    let mut status = filo("status");
    status.args(["--run", &output, "--json"]);
    let ended = run(with_server(status));
    let said = serde_json::from_str::<serde_json::Value>(&ended.stdout).unwrap();
    let stages = &said["parts"][0]["worker"]["timings"]["stages"];
    assert_eq!(stages[4]["stage"], "commit", "{said}");
    assert_eq!(stages[4]["images"], PICTURES, "{said}");
}

#[test]
fn one_object_is_one_picture() {
    let (folder, bucket) = (pictures(), bucket_folder("one"));
    upload(&folder.path("in/wood"), &format!("{bucket}/wood"));
    let input = format!("{bucket}/wood/test/good/1.png");
    let output = format!("{bucket}/out");
    let ended = run(score(&input, &output));
    assert!(ended.has_scored(1, 0), "{}", ended.stdout);
    let rows = rows_at(&output.parse().unwrap(), 1);
    assert_eq!((&rows.scores[0].uri, rows.scores[0].image_id.as_str()), (&input, "1.png"));
}

#[test]
fn a_report_of_a_bucket_into_a_bucket_shows_its_pictures() {
    let (folder, bucket) = (pictures(), bucket_folder("report"));
    upload(&folder.path("in"), &format!("{bucket}/in"));
    let (input, output) = (format!("{bucket}/in"), format!("{bucket}/out"));
    let mut command = score(&input, &output);
    command.args(["--maps", "f16"]);
    run(command).last_line();
    let mut command = with_server(filo("report"));
    command.args(["--run", &output, "--out", &format!("{bucket}/pages/report.html")]);
    let ended = run(command);
    assert!(
        ended.last_line().starts_with(&format!("{bucket}/pages/report.html · ")),
        "{}",
        ended.stdout
    );
    let pages = Store::open(&format!("{bucket}/pages").parse().unwrap()).unwrap();
    let page = String::from_utf8(pages.get("report.html").unwrap().to_vec()).unwrap();
    // A bucket that does not know what it is lets a browser download it.
    assert_eq!(content_type(&format!("{bucket}/pages/report.html")), "text/html; charset=utf-8");
    assert!(page.contains("class=\"heat\"") && !page.contains("No image: "));
    for secret in VARIABLES.iter().filter(|name| name.contains("SECRET")) {
        assert!(!page.contains(&std::env::var(secret).unwrap()), "{secret}");
    }
}

#[test]
fn no_credential_is_written_or_said() {
    let (folder, bucket) = (pictures(), bucket_folder("secrets"));
    upload(&folder.path("in"), &format!("{bucket}/in"));
    let output = format!("{bucket}/out");
    let mut command = score(&format!("{bucket}/in"), &output);
    command.args(["-v", "--log-format", "json"]).env("FILO_LOG", "trace");
    let ended = run(command);
    ended.last_line();
    let mut help = filo("score");
    help.arg("--help");
    let help = run(with_server(help));
    let mut texts = vec![ended.stdout, ended.stderr, help.stdout];
    let store = Store::open(&output.parse::<Location>().unwrap()).unwrap();
    for file in store.list("").unwrap() {
        texts.push(String::from_utf8_lossy(&store.get(&file.path).unwrap()).into_owned());
    }
    assert!(texts.len() > 10);
    let secret = std::env::var(VARIABLES[2]).unwrap();
    assert!(texts.iter().all(|text| !text.contains(&secret)));
}

#[test]
fn a_place_that_cannot_be_is_refused_in_one_line() {
    let bucket = bucket_folder("refused");
    let empty = format!("{bucket}/nothing");
    run(score(&empty, &format!("{bucket}/out"))).refused(&[&empty, "no image found"]);
    let secret = "s3://key:s3cret@bucket/in";
    let ended = run(score(secret, &format!("{bucket}/out")));
    ended.refused(&["input", "a URI with credentials", "variables"]);
    assert!(!ended.stderr.contains("s3cret"));
    let mut denied = score(&format!("{bucket}/in"), &format!("{bucket}/out"));
    denied.env("AWS_SECRET_ACCESS_KEY", "another");
    run(denied).refused(&[&bucket, "refuses these credentials"]);
}

#[test]
fn nights_in_a_bucket_are_one_set_as_on_a_disk() {
    let (folder, bucket) = (pictures(), bucket_folder("nights"));
    let input = folder.path("in");
    let score = |out: &str, date: &str| {
        let mut command = filo("score");
        command.arg("--input").arg(&input).args(["--output", out, "--weights", WEIGHTS]);
        command.args(["--run-date", date, "--shard-size", "3", "--threshold", "0.1"]);
        run(with_server(command)).last_line();
    };
    let on_disk = folder.path("runs");
    let places = [format!("{bucket}/runs"), on_disk.to_str().unwrap().to_string()];
    let of_both = |night: &str, date: &str| {
        places.iter().for_each(|place| score(&format!("{place}/{night}"), date));
    };
    of_both("1", "2026-11-24");
    folder.picture("in/wood/test/good/broken.png", 50, 40);
    folder.picture("in/wood/test/crack/new.png", 50, 40);
    folder.mask("in/wood/ground_truth/crack/new_mask.png", 50, 40);
    of_both("2", "2026-11-25");
    // Beside the runs there is something else.
    let store = Store::open(&places[0].parse::<Location>().unwrap()).unwrap();
    store.put("pages/a.html", "no run").unwrap();

    let metrics = |name: &str, flags: &[&str]| {
        let mut command = filo("metrics");
        command.args(["--run", name]).args(flags);
        run(with_server(command))
    };
    let [in_bucket, on_disk] = places.each_ref().map(|place| metrics(place, &["--kinds"]));
    assert_eq!(in_bucket.stdout, on_disk.stdout);
    let said = "image rows: 17 of 2 runs, 8 scored again: the newest counts";
    assert_eq!(in_bucket.last_line(), said);
    let pattern = format!("{}/*", places[0]);
    let set = format!("{bucket}/set");
    let ended = metrics(&pattern, &["--kinds", "--output", &set]);
    assert_eq!(ended.stdout, on_disk.stdout);
    assert!(Store::open(&set.parse().unwrap()).unwrap().exists("_filo/metrics.json").unwrap());
    let page = format!("{bucket}/pages/nights.html");
    let mut report = filo("report");
    report.args(["--run", &pattern, "--out", &page]);
    run(with_server(report)).last_line();
    let pages = Store::open(&format!("{bucket}/pages").parse().unwrap()).unwrap();
    let html = String::from_utf8(pages.get("nights.html").unwrap().to_vec()).unwrap();
    assert!(html.contains(said));

    // The second night as it was before its last shard.
    let night = Store::open(&format!("{}/2", places[0]).parse().unwrap()).unwrap();
    let manifest = night.get("_filo/manifest.json").unwrap();
    let mut manifest = serde_json::from_slice::<serde_json::Value>(&manifest).unwrap();
    manifest["totals"] = serde_json::Value::Null;
    let last = manifest["shards"].as_array().unwrap().last().unwrap().as_str().unwrap().to_string();
    night.put("_filo/manifest.json", manifest.to_string()).unwrap();
    night.delete_if_there("_SUCCESS").unwrap();
    night.delete_if_there(&format!("_filo/ledger/{last}.json")).unwrap();
    let refused = metrics(&pattern, &[]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("/2: 1 of 3 shards are not committed ("), "{}", refused.stderr);
    let partial = metrics(&pattern, &["--partial"]);
    let how_far = format!("unfinished: 6 of 9 images, 2 of 3 shards of {}/2", places[0]);
    assert!(partial.stdout.contains(&how_far), "{}", partial.stdout);
}

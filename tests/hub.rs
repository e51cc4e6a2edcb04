//! What fetching weights by name promises: a bundle of exactly the files that the hub states, or one line
//! that says what is wrong; what came once does not come again; the token is the hub's alone. The hub is
//! one of the test's own.

#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use filo::tables::ScoreRow;
use serde_json::{Value, json};
use support::fake_hub::{Content, FakeHub, Instead, Of, SIGNATURE, sha256};
use support::run::{Ended, Folder, LIMIT, WEIGHTS, filo, reader, run};

const FILO: &str = "filo_train_on_visa.pth";
const DETECTOR: &str = "grounding_train_on_visa.pth";
const TOKEN: &str = "hf_SesameOfTheTest";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The repository with tiny networks, and what says how they are built.
fn content() -> Content {
    let read = |name: &str| std::fs::read(golden(name)).unwrap();
    let json = |name: &str| serde_json::from_slice::<Value>(&read(name)).unwrap();
    let mut config = json("clip_tiny/config.json");
    config["config"] = json("gdino_tiny/config.json")["config"].clone();
    let detector = read("gdino_tiny/gdino_tiny.safetensors");
    let files = [
        ("README.md", b"# FiLo".to_vec()),
        ("config.json", config.to_string().into_bytes()),
        (FILO, read("clip_tiny/filo_tiny.safetensors")),
        (DETECTOR, detector),
    ];
    let files = files.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    Content { files, card: json!({ "license": "apache-2.0" }), ..Content::default() }
}

fn hub() -> FakeHub {
    FakeHub::start(content())
}

/// The program with the cache of the test.
fn weights(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = filo("weights");
    command.args(arguments).env("FILO_CACHE", folder.path("cache"));
    command
}

fn fetch(folder: &Folder, hub: &FakeHub) -> Ended {
    run(hub.with(weights(folder, &["fetch", "filo-visa"])))
}

fn bundle(folder: &Folder) -> PathBuf {
    folder.path("cache/published/filo-visa")
}

fn manifest(bundle: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(bundle.join("bundle.json")).unwrap()).unwrap()
}

/// Names of what is in the folder for downloads.
fn downloads(folder: &Folder) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path("cache/downloads/filo-visa"));
    let names = entries.into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let mut names = names.map(|name| name.into_string().unwrap()).collect::<Vec<_>>();
    names.sort();
    names
}

/// Checks that it failed with one line, and that nothing is there that loads.
fn failed(folder: &Folder, ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{}", ended.stderr);
    let errors = ended.stderr.lines().filter(|line| line.starts_with("filo: "));
    let errors = errors.collect::<Vec<_>>();
    let [error] = errors.as_slice() else { panic!("{}", ended.stderr) };
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    assert!(!error.contains(SIGNATURE), "{error}");
    assert!(!bundle(folder).exists());
}

/// `with`, for the first `times` requests for what `part` names.
fn first(
    times: usize,
    of: Of,
    part: &'static str,
    with: Instead,
) -> impl Fn(&support::fake_hub::Asked) -> Option<Instead> {
    let done = AtomicUsize::new(0);
    move |asked| {
        let matches = asked.of == of && asked.is_for(part);
        let due = matches && done.fetch_add(1, Ordering::Relaxed) < times;
        due.then(|| with.clone())
    }
}

fn always(
    of: Of,
    part: &'static str,
    with: Instead,
) -> impl Fn(&support::fake_hub::Asked) -> Option<Instead> {
    first(usize::MAX, of, part, with)
}

fn answer(status: &str) -> Instead {
    Instead::Answer(status.to_owned(), "a page".to_owned())
}

#[test]
fn a_name_becomes_a_bundle_that_scores_and_says_where_it_is_from() {
    let (folder, hub) = (Folder::new(), hub());
    let ended = fetch(&folder, &hub);
    let line = ended.last_line().to_owned();
    assert!(
        line.starts_with("fetched filo-visa · ") && line.contains("--weights filo-visa"),
        "{line}"
    );
    let commit = hub.content.lock().unwrap().commit();
    for part in ["2 files, 13.6", &commit[..12], "licence: apache-2.0", &hub.address] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let manifest = manifest(&bundle(&folder));
    assert_eq!(manifest["licence"], "apache-2.0");
    for (source, file) in manifest["sources"].as_array().unwrap().iter().zip([FILO, DETECTOR]) {
        let bytes = &hub.content.lock().unwrap().files[file];
        let origin = json!({ "hub": hub.address, "repository": "FantasticGNU/FiLo",
                             "commit": commit, "sha256": sha256(bytes) });
        assert_eq!((&source["file"], &source["origin"]), (&json!(file), &origin));
    }
    assert!(!folder.path("cache/downloads/filo-visa").exists(), "{:?}", downloads(&folder));

    // By its name it scores as its checkpoint does by its path.
    folder.picture("in/bottle/a.png", 64, 64);
    let score = |weights: &str, out: &str| {
        let mut command = filo("score");
        command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
        command.args(["--weights", weights, "--grounding", "off"]);
        command.env("FILO_CACHE", folder.path("cache"));
        let ended = run(command);
        assert!(ended.has_scored(1, 0), "{}", ended.stderr);
        reader(&folder.path(out)).rows::<ScoreRow>("bottle").unwrap().remove(0)
    };
    assert_eq!(score("filo-visa", "by-name").score, score(WEIGHTS, "by-path").score);
    let recorded = std::fs::read_to_string(folder.path("by-name/_filo/manifest.json"));
    assert!(recorded.is_ok_and(|text| text.contains("\"filo-visa\"")));

    // A second time nothing is asked.
    let asked = hub.asked().len();
    let again = fetch(&folder, &hub);
    assert!(again.last_line().starts_with("filo-visa is in the cache · "), "{}", again.stdout);
    assert_eq!(hub.asked().len(), asked);
    let verified = run(weights(&folder, &["verify", "filo-visa"]));
    assert!(verified.last_line().starts_with("sound: 2 files"), "{}", verified.stdout);
    let inspected = run(weights(&folder, &["inspect", "filo-visa"]));
    let from = format!("{FILO} · FiLo · ");
    assert!(inspected.stdout.contains(&from) && inspected.stdout.contains(&commit));
}

#[test]
fn a_bundle_goes_where_it_is_wanted_in_the_precision_that_is_wanted() {
    let (folder, hub) = (Folder::new(), hub());
    hub.content.lock().unwrap().card = json!(null);
    let to = folder.path("mine");
    let arguments = ["fetch", "filo-visa", "--precision", "f16", "--keep-files", "--to"];
    let with_to = |to: &Path| {
        let mut command = weights(&folder, &arguments);
        command.arg(to);
        run(hub.with(command))
    };
    let ended = with_to(&to);
    assert!(ended.last_line().starts_with("fetched filo-visa · "), "{}", ended.stdout);
    assert!(ended.stderr.contains("licence: not stated"), "{}", ended.stderr);
    let found = manifest(&to);
    assert_eq!(found["precision"], "f16");
    assert!(found["licence"].as_str().unwrap().starts_with("not stated"), "{found}");
    assert!(!bundle(&folder).exists());
    assert_eq!(downloads(&folder), ["config.json", FILO, DETECTOR]);

    // What was kept is not downloaded again, and the cache's bundle makes others.
    let asked = |file| hub.ranges(file).len();
    assert_eq!((asked(FILO), asked(DETECTOR)), (1, 1));
    assert!(fetch(&folder, &hub).last_line().starts_with("fetched filo-visa · "));
    assert_eq!((asked(FILO), asked(DETECTOR)), (1, 1));
    assert_eq!(manifest(&bundle(&folder))["precision"], "f32");
    let of_cache = with_to(&folder.path("other"));
    assert!(of_cache.last_line().starts_with("wrote filo-visa from the cache"));
    assert_eq!(manifest(&folder.path("other"))["precision"], "f16");
    with_to(&to).refused(&["/mine: is no new or empty folder"]);
    let other = run(weights(&folder, &["fetch", "filo-visa", "--precision", "f16"]));
    other.refused(&["is in the cache in f32", "filo weights convert --from"]);
}

#[test]
fn a_cut_connection_goes_on_where_it_was() {
    let (folder, hub) = (Folder::new(), hub());
    hub.instead(first(1, Of::Storage, FILO, Instead::Cut(100_000)));
    fetch(&folder, &hub).last_line();
    let ranges = hub.ranges(FILO);
    let [whole, rest] = ranges.as_slice() else { panic!("{ranges:?}") };
    assert_eq!((whole.as_str(), rest.as_str()), ("", "bytes=100000-"));
    assert!(run(weights(&folder, &["verify", "filo-visa"])).last_line().starts_with("sound"));
}

/// Starts fetching, and returns when some bytes of the first file are here and no more will come.
fn start_until(folder: &Folder, hub: &FakeHub, bytes: u64) -> Child {
    hub.instead(always(Of::Storage, FILO, Instead::Stall(bytes as usize)));
    let mut command = hub.with(weights(folder, &["fetch", "filo-visa"]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    let path = folder.path("cache/downloads/filo-visa");
    let here = || {
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        entries.map(|entry| entry.metadata().map_or(0, |found| found.len())).sum::<u64>()
    };
    while here() < bytes {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "ended before it could be stopped: {ended:?}");
        assert!(started.elapsed() < LIMIT, "nothing comes");
        std::thread::yield_now();
    }
    hub.instead(|_| None);
    child
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[test]
fn whoever_is_stopped_or_killed_asks_only_for_the_rest_afterwards() {
    for name in ["INT", "KILL"] {
        let (folder, hub) = (Folder::new(), hub());
        let child = start_until(&folder, &hub, 70_000);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        if name == "INT" {
            let ended = Ended::of(output);
            assert_eq!((ended.code, ended.stdout.as_str()), (130, ""), "{}", ended.stderr);
            let last = ended.stderr.lines().last().unwrap();
            assert!(
                last.starts_with("stopped; what was downloaded is kept. Resume with: "),
                "{last}"
            );
            assert!(last.ends_with("weights fetch filo-visa"), "{last}");
        }
        assert!(!bundle(&folder).exists());
        let ended = fetch(&folder, &hub);
        assert!(ended.last_line().starts_with("fetched"), "{}", ended.stdout);
        assert!(ended.stderr.contains("68.36 KiB of them here"), "{}", ended.stderr);
        assert_eq!(hub.ranges(FILO), ["", "bytes=70000-"]);
        assert_eq!(hub.ranges(DETECTOR), [""]);
    }
}

#[test]
fn a_file_that_changed_in_between_begins_anew() {
    let (folder, hub) = (Folder::new(), hub());
    let child = start_until(&folder, &hub, 70_000);
    signal(&child, "INT");
    child.wait_with_output().unwrap();
    // Another content of the same size.
    let changed = {
        let mut content = hub.content.lock().unwrap();
        let file = content.files.get_mut(FILO).unwrap();
        let last = file.len() - 2;
        file[last] ^= 1;
        sha256(file)
    };
    fetch(&folder, &hub).last_line();
    assert_eq!(hub.ranges(FILO), ["", ""]);
    assert_eq!(manifest(&bundle(&folder))["sources"][0]["origin"]["sha256"], changed);
}

#[test]
fn a_storage_that_knows_no_ranges_is_read_from_the_beginning() {
    let (folder, hub) = (Folder::new(), hub());
    let cuts = [FILO, DETECTOR].map(|file| first(1, Of::Storage, file, Instead::Cut(5000)));
    let refused = answer("416 Range Not Satisfiable");
    hub.instead(move |asked| {
        match asked.headers.contains_key("range") && asked.of == Of::Storage {
            true if asked.is_for(FILO) => Some(Instead::Whole),
            true => Some(refused.clone()),
            false => cuts.iter().find_map(|cut| cut(asked)),
        }
    });
    fetch(&folder, &hub).last_line();
    assert_eq!(hub.ranges(FILO), ["", "bytes=5000-"]);
    assert_eq!(hub.ranges(DETECTOR), ["", "bytes=5000-", ""]);
}

#[test]
fn another_content_than_the_one_stated_is_refused_by_name_and_not_kept() {
    let (folder, hub) = (Folder::new(), hub());
    let (size, stated) = {
        let mut content = hub.content.lock().unwrap();
        let size = content.files[DETECTOR].len() as u64;
        let stated = sha256(b"another file");
        content.stated.insert(DETECTOR.to_owned(), (size, stated.clone()));
        (size, stated)
    };
    let found = sha256(&hub.content.lock().unwrap().files[DETECTOR]);
    failed(&folder, &fetch(&folder, &hub), 1, &[DETECTOR, &stated, &found]);
    assert_eq!(downloads(&folder), [FILO]);

    // Sizes that lie: a longer file, a shorter one, and one whose length nobody says.
    let truth = sha256(&hub.content.lock().unwrap().files[DETECTOR]);
    for lie in [size - 1, size + 1] {
        let stated = (lie, truth.clone());
        hub.content.lock().unwrap().stated.insert(DETECTOR.to_owned(), stated);
        let parts = [DETECTOR, "has not the", &lie.to_string(), &size.to_string()];
        failed(&folder, &fetch(&folder, &hub), 1, &parts);
    }
    hub.content.lock().unwrap().stated.clear();
    hub.instead(always(Of::Storage, DETECTOR, Instead::Longer(vec![7; 100])));
    failed(&folder, &fetch(&folder, &hub), 1, &[DETECTOR, "more came"]);
    assert_eq!(downloads(&folder), [FILO]);
}

#[test]
fn more_than_the_disk_holds_is_refused_before_it_comes() {
    let (folder, hub) = (Folder::new(), hub());
    let stated = (1 << 60, sha256(b"x"));
    hub.content.lock().unwrap().stated.insert(FILO.to_owned(), stated);
    failed(&folder, &fetch(&folder, &hub), 1, &["are needed", "are free", "FILO_CACHE", "f16"]);
    assert_eq!(hub.ranges(FILO), [""; 0]);
}

#[test]
fn a_hub_that_refuses_is_named_with_what_to_do() {
    let (folder, hub) = (Folder::new(), hub());
    let case = |of, part, instead, code, parts: &[&str]| {
        hub.instead(always(of, part, instead));
        failed(&folder, &fetch(&folder, &hub), code, parts);
    };
    let page = "/api/models/FantasticGNU/FiLo ";
    case(
        Of::Hub,
        page,
        answer("401 Unauthorized"),
        2,
        &["FantasticGNU/FiLo", "401", "set HF_TOKEN"],
    );
    case(Of::Hub, page, answer("403 Forbidden"), 2, &["403", "accept the terms"]);
    case(Of::Hub, page, answer("404 Not Found"), 2, &["no such thing", "HF_ENDPOINT", "convert"]);
    case(Of::Hub, "/resolve/", answer("404 Not Found"), 2, &[FILO, "no such thing"]);
    case(Of::Hub, page, answer("429 Too Many Requests"), 1, &["429", "HF_TOKEN"]);
    case(Of::Hub, page, answer("418 I'm a teapot"), 1, &["418", "HF_ENDPOINT"]);
    case(Of::Hub, page, answer("200 OK"), 1, &["not what a hub answers", "login"]);
    let large = Instead::Answer("200 OK".to_owned(), " ".repeat(3 << 20));
    case(Of::Hub, page, large, 1, &["larger than"]);
    let circle = answer("302 Found\r\nLocation: /FantasticGNU/FiLo/resolve/again");
    case(Of::Hub, "/resolve/", circle, 1, &["redirects without end"]);
    let nowhere = answer("302 Found\r\nLocation: file:///etc/passwd");
    case(Of::Hub, "/resolve/", nowhere, 1, &["no server of HTTP"]);
    let mut command = weights(&folder, &["fetch", "filo-visa"]);
    command.env("HF_TOKEN", TOKEN);
    hub.instead(always(Of::Hub, page, answer("403 Forbidden")));
    failed(&folder, &run(hub.with(command)), 2, &["HF_TOKEN may not read it"]);
    hub.instead(|_| None);
    hub.content.lock().unwrap().files.remove(DETECTOR);
    failed(&folder, &fetch(&folder, &hub), 2, &["has no", DETECTOR]);
}

#[test]
fn what_may_pass_is_tried_again() {
    let (folder, hub) = (Folder::new(), hub());
    let later = answer("429 Too Many Requests\r\nRetry-After: 0");
    let rules = [
        first(2, Of::Hub, "/api/models/FantasticGNU/FiLo ", answer("503 Service Unavailable")),
        first(1, Of::Hub, "/tree/", Instead::Cut(10)),
        first(1, Of::Hub, "/resolve/", later),
        // An address whose time is over: the hub makes another.
        first(1, Of::Storage, FILO, answer("403 Forbidden")),
        first(1, Of::Storage, DETECTOR, answer("500 Internal Server Error")),
    ];
    hub.instead(move |asked| rules.iter().find_map(|rule| rule(asked)));
    let ended = fetch(&folder, &hub);
    assert!(ended.last_line().starts_with("fetched"), "{}", ended.stderr);
    let again = ended.stderr.lines().filter(|line| line.contains("; again in "));
    assert_eq!(again.count(), 6, "{}", ended.stderr);
    assert!(!ended.stderr.contains(SIGNATURE), "{}", ended.stderr);
}

/// Checks that fetching from `address` fails with `parts`, and how soon.
fn given_up(address: &str, parts: &[&str]) {
    let folder = Folder::new();
    let mut command = weights(&folder, &["fetch", "filo-visa"]);
    command.env("HF_ENDPOINT", address);
    let started = Instant::now();
    let ended = run(command);
    failed(&folder, &ended, 1, &[parts, &[address, "HF_ENDPOINT"]].concat());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
}

#[test]
fn a_hub_that_does_not_answer_is_given_up_after_ten_seconds() {
    let silent = hub();
    silent.instead(always(Of::Hub, "", Instead::Silence));
    given_up(&silent.address, &["does not answer"]);
}

#[test]
fn a_hub_where_nobody_listens_is_given_up_after_ten_seconds() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    given_up(&format!("http://{nobody}"), &["refuses the connection"]);
}

#[test]
fn variables_that_cannot_be_used_are_named() {
    let folder = Folder::new();
    let with = |name: &str, value: &str| {
        let mut command = weights(&folder, &["fetch", "filo-visa"]);
        command.env(name, value);
        run(command)
    };
    with("HF_ENDPOINT", "mirror:80").refused(&["HF_ENDPOINT", "write HF_ENDPOINT=http://"]);
    let ended = with("HF_ENDPOINT", "https://me:sesame@mirror");
    ended.refused(&["HF_ENDPOINT", "leave them out"]);
    assert!(!ended.stderr.contains("sesame"));
    let ended = with("HF_TOKEN", "hf_ses ame");
    ended.refused(&["HF_TOKEN", "copy it again"]);
    assert!(!ended.stderr.contains("hf_ses"));
}

#[test]
fn the_token_is_the_hubs_and_nobody_elses() {
    let (folder, hub) = (Folder::new(), hub());
    let mut command = weights(&folder, &["fetch", "filo-visa", "--keep-files"]);
    command.env("HF_TOKEN", TOKEN).env("FILO_LOG", "trace");
    let ended = run(hub.with(command));
    assert!(ended.last_line().starts_with("fetched"), "{}", ended.stderr);
    let asked = hub.asked();
    let (of_hub, of_storage) = asked.iter().partition::<Vec<_>, _>(|asked| asked.of == Of::Hub);
    assert!(of_hub.len() >= 5 && of_storage.len() >= 2, "{asked:?}");
    let bearer = format!("Bearer {TOKEN}");
    assert!(of_hub.iter().all(|asked| asked.headers.get("authorization") == Some(&bearer)));
    assert!(!format!("{of_storage:?}").contains(TOKEN), "{of_storage:?}");
    assert!(!ended.stderr.contains(TOKEN) && !ended.stdout.contains(TOKEN));
    let found =
        Command::new("grep").args(["-r", TOKEN]).arg(folder.path("cache")).output().unwrap();
    assert_eq!(found.status.code(), Some(1), "the token was written");
}

#[test]
fn offline_nothing_is_asked_and_the_cache_is_enough() {
    let (folder, hub) = (Folder::new(), hub());
    let offline = |arguments: &[&str]| {
        let mut command = hub.with(weights(&folder, arguments));
        command.env("HF_HUB_OFFLINE", "1");
        run(command)
    };
    let ended = offline(&["fetch", "filo-visa"]);
    failed(
        &folder,
        &ended,
        2,
        &["filo-visa", "HF_HUB_OFFLINE is set", "cache/published/filo-visa"],
    );
    let listed = offline(&["list"]);
    assert!(listed.last_line().ends_with("licence: not known"), "{}", listed.stdout);
    assert!(listed.stdout.contains("  about 3.3 GB  "), "{}", listed.stdout);
    assert!(hub.asked().is_empty());
    fetch(&folder, &hub).last_line();
    let asked = hub.asked().len();
    assert!(offline(&["fetch", "filo-visa"]).last_line().starts_with("filo-visa is in the cache"));
    assert_eq!(hub.asked().len(), asked);
}

#[test]
fn two_at_once_download_once() {
    let (folder, hub) = (Folder::new(), hub());
    let start = || {
        let mut command = hub.with(weights(&folder, &["fetch", "filo-visa"]));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // The first gets nothing of its file until the second waits for it.
    let (go, waits) = std::sync::mpsc::channel();
    let waits = std::sync::Mutex::new(waits);
    let hold = first(1, Of::Storage, FILO, Instead::Whole);
    hub.instead(move |asked| {
        let held = hold(asked);
        if held.is_some() {
            waits.lock().unwrap().recv_timeout(LIMIT).unwrap();
        }
        held
    });
    let one = start();
    let started = Instant::now();
    while hub.ranges(FILO).is_empty() {
        assert!(started.elapsed() < LIMIT, "the first asks for nothing");
        std::thread::yield_now();
    }
    let mut other = start();
    let mut said = BufReader::new(other.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("another process fetches the same"), "{line}");
    go.send(()).unwrap();
    let lines = [one, other].map(|child| {
        let ended = Ended::of(child.wait_with_output().unwrap());
        ended.last_line().split(" · ").next().unwrap().to_owned()
    });
    assert_eq!(lines, ["fetched filo-visa", "filo-visa is in the cache"]);
    assert_eq!(
        (hub.ranges(FILO), hub.ranges(DETECTOR)),
        (vec![String::new()], vec![String::new()])
    );
}

#[test]
fn weights_that_were_not_fetched_are_one_line_with_the_command_and_no_download() {
    let (folder, hub) = (Folder::new(), hub());
    folder.picture("in/bottle/a.png", 16, 16);
    let parts = ["filo-visa: ", "run filo weights fetch filo-visa (3.3 GB) first"];
    let mut score = hub.with(filo("score"));
    score.env("FILO_CACHE", folder.path("cache")).args(["--weights", "filo-visa"]);
    score.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path("out"));
    run(score).refused(&parts);
    let mut train = hub.with(filo("train"));
    train.env("FILO_CACHE", folder.path("cache")).args(["--init", "filo-visa"]);
    train.args(["--data", "generated", "--out"]).arg(folder.path("trained"));
    run(train).refused(&parts);
    for subcommand in ["inspect", "verify"] {
        run(hub.with(weights(&folder, &[subcommand, "filo-visa"]))).refused(&parts);
    }
    assert!(hub.asked().is_empty());
    assert!(!folder.path("out").exists());
}

#[test]
fn a_broken_bundle_of_the_cache_is_made_anew() {
    let (folder, hub) = (Folder::new(), hub());
    fetch(&folder, &hub).last_line();
    let file = bundle(&folder).join("filo-00001-of-00001.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let broken = run(weights(&folder, &["verify", "filo-visa"]));
    broken.refused(&["run filo weights fetch filo-visa, which makes it anew"]);
    let ended = fetch(&folder, &hub);
    assert!(ended.last_line().starts_with("fetched"), "{}", ended.stdout);
    assert!(ended.stderr.contains("it is fetched again"), "{}", ended.stderr);
    assert!(run(weights(&folder, &["verify", "filo-visa"])).last_line().starts_with("sound"));
}

#[test]
fn the_list_says_what_there_is_and_what_is_here() {
    let (folder, hub) = (Folder::new(), hub());
    let list = |more: &[&str]| run(hub.with(weights(&folder, &[&["list"], more].concat())));
    let json = || serde_json::from_str::<Value>(list(&["--json"]).stdout.as_str()).unwrap();
    let before = json();
    let names = before["weights"].as_array().unwrap().iter().map(|entry| &entry["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["nano", "filo-visa", "filo-mvtec"]);
    let sizes = [FILO, DETECTOR].map(|file| hub.content.lock().unwrap().files[file].len());
    assert_eq!(before["weights"][1]["bytes"], sizes[0] + sizes[1]);
    assert_eq!(before["weights"][1]["licence"], "apache-2.0");
    assert_eq!(before["weights"][1]["here"]["where"], "absent");
    // The repository has not these files.
    assert_eq!(before["weights"][2]["bytes"], Value::Null);
    fetch(&folder, &hub).last_line();
    let after = json();
    let here = &after["weights"][1]["here"];
    assert_eq!((&here["where"], &here["precision"]), (&json!("cached"), &json!("f32")));
    assert_eq!(here["path"], bundle(&folder).to_str().unwrap());
    let text = list(&[]);
    let line = text.stdout.lines().find(|line| line.starts_with("filo-visa ")).unwrap();
    assert!(line.contains("VisA") && line.ends_with("yes, f32"), "{}", text.stdout);
    assert!(text.stdout.contains(&format!("filo-visa: {FILO}, {DETECTOR} of FantasticGNU/FiLo")));
    // A hub that is away is no error.
    hub.instead(always(Of::Hub, "", answer("404 Not Found")));
    let without = list(&[]);
    assert!(without.last_line().ends_with("licence: not known"), "{}", without.stdout);
    assert!(without.stderr.contains("are not known: "), "{}", without.stderr);
}

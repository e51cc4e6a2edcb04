//! `filo describe` beside a server that speaks the protocol: from a question to the scores of a run
//! and back to which descriptions won; and everything that a server may do instead of answering.

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::chat::{ChatServer, Reply};
use support::run::{Folder, filo, manifest, rows, run};

const KEY: &str = "sk-a-very-secret-key";

fn describe(folder: &Folder, server: &ChatServer, count: &str) -> Command {
    let mut command = filo("describe");
    command.args(["--category", "gear_wheel", "--endpoint", &server.url, "--model", "tiny"]);
    command.args(["--count", count, "--seed", "7", "--timeout", "1", "--out"]);
    command.arg(folder.path("mine.json")).env("FILO_DESCRIBE_KEY", KEY);
    command
}

fn file(folder: &Folder) -> Value {
    serde_json::from_slice(&std::fs::read(folder.path("mine.json")).unwrap()).unwrap()
}

#[test]
fn a_category_is_described_scored_with_it_and_the_winners_are_counted() {
    let folder = Folder::new();
    let server = ChatServer::start(vec![Reply::details(&["missing tooth", "rust on the hub"])]);
    let mut ask = describe(&folder, &server, "2");
    ask.args(["--about", "cut from steel"]);
    let ended = run(ask);
    assert!(ended.last_line().starts_with("described 1 category · "), "{}", ended.stdout);
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization.as_deref(), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!((&asked[0].body["model"], &asked[0].body["seed"]), (&"tiny".into(), &7.into()));
    assert!(asked[0].text().contains("gear wheel") && asked[0].text().contains("cut from steel"));
    let written = file(&folder);
    let gear = &written["gear_wheel"];
    assert_eq!(written["format"], 1);
    assert_eq!(gear["details"], serde_json::json!(["missing tooth", "rust on the hub"]));
    assert_eq!((&gear["model"], &gear["seed"]), (&"tiny".into(), &7.into()));
    assert_eq!(gear["display_name"], "gear wheel");
    assert_eq!(gear["prompt"].as_str().unwrap().len(), 16);

    for i in 0..3 {
        folder.picture(&format!("in/gear_wheel/test/good/{i}.png"), 40 + i, 40);
    }
    let mut score = folder.score();
    score.arg("--descriptions").arg(folder.path("mine.json"));
    run(score).last_line();
    let states =
        ["abnormal gear wheel with missing tooth", "abnormal gear wheel with rust on the hub"];
    let scored = rows(&folder.path("out"), 3).scores;
    let tops = scored.iter().filter_map(|row| row.top_description.as_deref()).collect::<Vec<_>>();
    assert_eq!(tops.len(), 3);
    let text = std::fs::read(folder.path("mine.json")).unwrap();
    let id = blake3::hash(&text).to_hex().to_string();
    let spec = manifest(&folder.path("out")).spec;
    assert_eq!((&spec["descriptions"], &spec["generic_descriptions"]), (&id.into(), &Value::Null));

    let mut check = filo("describe");
    check.arg("--check").arg(folder.path("mine.json")).arg("--run").arg(folder.path("out"));
    let table = run(check);
    assert!(table.last_line().ends_with("of 2 descriptions were never the best"));
    let mut check = filo("describe");
    check.arg("--check").arg(folder.path("mine.json")).arg("--run").arg(folder.path("out"));
    check.arg("--json");
    let counted: Value = serde_json::from_str(&run(check).stdout).unwrap();
    let counted = counted["descriptions"].as_array().unwrap();
    // Two of the file, five that every category has.
    assert_eq!(counted.len(), 7);
    assert_eq!(counted.iter().map(|row| row["wins"].as_u64().unwrap()).sum::<u64>(), 3);
    for (i, state) in states.iter().enumerate() {
        let wins = tops.iter().filter(|top| *top == state).count();
        assert_eq!(counted[i]["wins"], wins, "{state}");
        assert_eq!(
            (&counted[i]["generic"], &counted[i]["wins_normal"]),
            (&false.into(), &wins.into())
        );
    }
}

#[test]
fn what_cannot_be_used_is_asked_again_and_said() {
    let folder = Folder::new();
    let server = ChatServer::start(vec![
        Reply::Says("I cannot help with that.".into()),
        Reply::Says(r#"{"defects": ["missing tooth"]}"#.into()),
        Reply::details(&["missing tooth", "Bent rim", "cracks, dents", "missing tooth"]),
        Reply::details(&["chipped edge", "burnt smell", "more than was asked for"]),
    ]);
    let ended = run(describe(&folder, &server, "2"));
    ended.last_line();
    assert_eq!(
        file(&folder)["gear_wheel"]["details"],
        serde_json::json!(["missing tooth", "chipped edge"])
    );
    for said in
        ["not the JSON asked for", "\"Bent rim\" has capital letters", "\"cracks, dents\" has"]
    {
        assert!(ended.stderr.contains(said), "{said} is not in\n{}", ended.stderr);
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked[3].text().contains("do not repeat them: \"missing tooth\""));
    assert!(asked[3].text().contains("has capital letters"));
    assert_ne!(asked[0].body["seed"], asked[1].body["seed"]);
    assert_eq!(
        asked[3].body["response_format"]["json_schema"]["schema"]["properties"]["details"]["maxItems"],
        1
    );
}

#[test]
fn a_model_without_a_usable_answer_leaves_no_file() {
    let folder = Folder::new();
    let server = ChatServer::start(vec![Reply::details(&["Too Loud"])]);
    let ended = run(describe(&folder, &server, "2"));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("gear_wheel: tiny gave no description that can be used"));
    assert_eq!(server.asked().len(), 4);
    assert!(!folder.path("mine.json").exists());
}

#[test]
fn busy_and_slow_servers_are_given_time() {
    let folder = Folder::new();
    let server = ChatServer::start(vec![
        Reply::Raw(503, &[], "<html>loading</html>".into()),
        Reply::Raw(429, &[("retry-after", "1")], r#"{"error": {"message": "slow down"}}"#.into()),
        Reply::Sleeps(Duration::from_millis(1500)),
        Reply::details(&["missing tooth"]),
    ]);
    let ended = run(describe(&folder, &server, "1"));
    ended.last_line();
    for said in ["status 503: <html>loading", "status 429: slow down; again in 1.0 s", "too long"] {
        assert!(ended.stderr.contains(said), "{said} is not in\n{}", ended.stderr);
    }
    assert_eq!(file(&folder)["gear_wheel"]["details"], serde_json::json!(["missing tooth"]));
}

#[test]
fn a_server_that_is_not_there_or_wants_too_much_time_is_one_line() {
    let folder = Folder::new();
    let busy = ChatServer::start(vec![Reply::Raw(429, &[("retry-after", "3600")], "".into())]);
    let ended = run(describe(&folder, &busy, "1"));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("no answer after 1 tries (status 429"), "{}", ended.stderr);
    let odd = ChatServer::start(vec![Reply::Raw(200, &[], "<html>welcome</html>".into())]);
    let ended = run(describe(&folder, &odd, "1"));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("is it OpenAI-compatible?"), "{}", ended.stderr);
    let mut ask = filo("describe");
    ask.args(["--category", "gear", "--endpoint", "http://127.0.0.1:9/v1", "--model", "tiny"]);
    let ended = run(ask);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("no answer after 5 tries"), "{}", ended.stderr);
    assert!(!folder.path("mine.json").exists());
}

#[test]
fn the_key_is_in_no_output_whatever_the_server_says() {
    let folder = Folder::new();
    let said = format!(r#"{{"error": {{"message": "key {KEY} is wrong"}}}}"#);
    for status in [401, 404, 400] {
        let server = ChatServer::start(vec![Reply::Raw(status, &[], said.clone())]);
        let mut ask = describe(&folder, &server, "1");
        ask.env("FILO_LOG", "trace").arg("--verbose");
        let ended = run(ask);
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(!ended.stderr.contains(KEY) && !ended.stdout.contains(KEY), "{}", ended.stderr);
    }
    let server = ChatServer::start(vec![Reply::details(&["missing tooth"])]);
    let mut ask = describe(&folder, &server, "1");
    ask.env("FILO_LOG", "trace");
    let ended = run(ask);
    ended.last_line();
    let written = std::fs::read_to_string(folder.path("mine.json")).unwrap();
    assert!(![&ended.stderr, &ended.stdout, &written].iter().any(|text| text.contains(KEY)));
}

#[test]
fn a_file_that_is_there_stays_and_a_run_without_winners_is_told() {
    let folder = Folder::new();
    folder.file("mine.json", "{}");
    let server = ChatServer::start(vec![Reply::details(&["missing tooth"])]);
    run(describe(&folder, &server, "1")).refused(&["mine.json: is there already"]);
    assert!(server.asked().is_empty());
    let mut check = filo("describe");
    check.args(["--check", "built-in", "--run"]).arg(folder.path("nowhere"));
    assert_eq!(run(check).code, 2);
}

#[test]
fn what_was_described_before_a_failure_is_kept() {
    let folder = Folder::new();
    let refuse = Reply::Raw(400, &[], r#"{"error": {"message": "no"}}"#.to_string());
    let server = ChatServer::start(vec![Reply::details(&["missing tooth"]), refuse]);
    let mut ask = describe(&folder, &server, "1");
    ask.args(["--category", "bolt"]);
    let ended = run(ask);
    assert!(ended.code != 0 && ended.stderr.contains("has gear_wheel; ask for the others"));
    let written = file(&folder);
    assert_eq!(written["gear_wheel"]["details"], serde_json::json!(["missing tooth"]));
    assert!(written["bolt"].is_null());
}

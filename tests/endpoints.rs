//! What people mistype or what is in the way on the way to a bucket: one line that names it and says
//! what to do, in seconds, without a secret. The servers are the test's own.

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use support::fake_s3::FakeS3;
use support::run::{Ended, Folder, WEIGHTS, filo, rows, run};

/// "In seconds", on a machine that has other work.
const SOON: Duration = Duration::from_secs(30);

/// The four commands that open a bucket, at a place in one.
fn commands(place: &str) -> Vec<Command> {
    let mut score = filo("score");
    score.args(["--input", place, "--output", &format!("{place}/out"), "--weights", WEIGHTS]);
    let of_run = |name: &str| {
        let mut command = filo(name);
        command.args(["--run", place]);
        command
    };
    let mut report = of_run("report");
    report.arg("--out").arg(std::env::temp_dir().join("never-written.html"));
    vec![score, of_run("status"), of_run("metrics"), report]
}

fn keys(mut command: Command) -> Command {
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE");
    command.env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIbPxRfiCY");
    command.env("AWS_SESSION_TOKEN", "t0kenOfSession");
    command
}

/// One line, exit code 2, with all of `parts`, and no secret.
fn refused_in_a_line(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    failed_in_a_line(ended, parts);
}

/// As [`refused_in_a_line`], where it shows when something is read.
fn failed_in_a_line(ended: &Ended, parts: &[&str]) {
    assert!(matches!(ended.code, 1 | 2), "{}", ended.stderr);
    // A log in JSON ends in an event.
    let is_error = |line: &&str| line.starts_with("filo: ") || line.contains("\"level\":\"ERROR\"");
    let lines = ended.stderr.lines().filter(is_error).collect::<Vec<_>>();
    let [line] = lines[..] else { panic!("{}", ended.stderr) };
    for part in parts {
        assert!(line.contains(part), "{part}: {line}");
    }
    for secret in ["sesame", "wJalrXUtnFEMIbPxRfiCY", "t0kenOfSession", "<?xml", "<Error"] {
        assert!(!ended.stderr.contains(secret), "{secret}: {}", ended.stderr);
    }
}

#[test]
fn a_malformed_endpoint_or_uri_is_one_line_for_every_command() {
    let cases = [
        ("minio:9000", "AWS_ENDPOINT_URL=http://minio:9000"),
        ("http://host:notaport", "AWS_ENDPOINT_URL=http://host:notaport: is no address"),
        ("ftp://user:sesame@host", "write AWS_ENDPOINT_URL=http://***@host"),
    ];
    for (endpoint, said) in cases {
        for mut command in commands("s3://bucket/in") {
            command.env("AWS_ENDPOINT_URL", endpoint);
            refused_in_a_line(&run(keys(command)), &["s3://bucket/in", said]);
        }
    }
    for place in ["s3://", "s3://b ucket/in"] {
        for command in commands(place) {
            refused_in_a_line(&run(keys(command)), &["bucket"]);
        }
    }
    let mut to_nothing = filo("score");
    let folder = Folder::new();
    folder.picture("in/nut/1.png", 20, 20);
    to_nothing.arg("--input").arg(folder.path("in")).args(["--output", "s3://"]);
    refused_in_a_line(&run(keys(to_nothing)), &["output", "s3://", "without the name of a bucket"]);
}

#[test]
fn what_does_not_answer_from_the_beginning_is_told_in_seconds_and_without_the_password() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = FakeS3::start(&[]);
    let refused = format!("http://127.0.0.1:{} refuses the connection", closed.port());
    let no_tls = format!("https://{} does not speak TLS: write http://", plain.address);
    let cases = [
        (format!("http://user:sesame@{closed}"), refused.as_str()),
        (
            "http://no-such-host.invalid:9000".to_owned(),
            "the host of http://no-such-host.invalid:9000 is unknown",
        ),
        (format!("https://{}", plain.address), no_tls.as_str()),
    ];
    for (endpoint, said) in cases {
        let mut command = filo("score");
        command.args(["--input", "s3://bucket/in", "--output", "s3://bucket/out", "-v"]);
        command.env("AWS_ENDPOINT_URL", &endpoint).env("FILO_LOG", "trace");
        command.args(["--log-format", "json"]);
        let started = Instant::now();
        let ended = run(keys(command));
        assert!(started.elapsed() < SOON, "{endpoint}: {:?}", started.elapsed());
        refused_in_a_line(&ended, &[said, "check AWS_ENDPOINT_URL"]);
    }
}

#[test]
fn an_answer_of_a_server_is_advice_that_fits() {
    let cases = [
        ("404 Not Found", "NoSuchBucket", "no such bucket: check the name in the URI"),
        ("403 Forbidden", "AccessDenied", "access denied: the store refuses these credentials"),
        (
            "403 Forbidden",
            "SignatureDoesNotMatch",
            "the secret does not fit the access key: check AWS_ACCESS_KEY_ID",
        ),
        ("403 Forbidden", "InvalidAccessKeyId", "it knows no such access key"),
        ("400 Bad Request", "ExpiredToken", "the credentials have expired: renew them"),
        ("403 Forbidden", "RequestTimeTooSkewed", "the clock of this machine is wrong"),
        (
            "400 Bad Request",
            "AuthorizationHeaderMalformed",
            "the region eu-west-3: set AWS_REGION=eu-west-3",
        ),
        (
            "301 Moved Permanently",
            "PermanentRedirect",
            "the region eu-west-3: set AWS_REGION=eu-west-3",
        ),
    ];
    for (status, code, said) in cases {
        let page = format!(
            "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>of wJalrXUtnFEMIbPxRfiCY</Message>\
             <Region>eu-west-3</Region></Error>"
        );
        let server = FakeS3::answering(&[], move |_| Some((status.to_owned(), page.clone())));
        for command in commands("s3://bucket/in") {
            let mut command = keys(server.with(command));
            command.arg("-v");
            failed_in_a_line(&run(command), &[said]);
        }
    }
    let page = "Client sent an HTTP request to an HTTPS server.\n".to_owned();
    let tls = FakeS3::answering(&[], move |_| Some(("400 Bad Request".to_owned(), page.clone())));
    let [score, ..] = &mut commands("s3://bucket/in")[..] else { unreachable!() };
    let score = std::mem::replace(score, Command::new("true"));
    refused_in_a_line(&run(tls.with(score)), &["speaks TLS there: write https://"]);
}

#[test]
fn credentials_that_expire_in_the_middle_are_said_as_that() {
    let folder = Folder::new();
    folder.picture("1.png", 20, 20);
    let picture = std::fs::read(folder.path("1.png")).unwrap();
    let server = FakeS3::answering(&[("in/nut/1.png", &picture)], |asked| {
        let writes = asked.line.starts_with("PUT") && asked.line.contains("scores");
        let page = "<Error><Code>ExpiredToken</Code></Error>".to_owned();
        writes.then(|| ("400 Bad Request".to_owned(), page))
    });
    let mut command = filo("score");
    command.args(["--input", "s3://b/in", "--output", "s3://b/out", "--weights", WEIGHTS]);
    let ended = run(server.with(command));
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let line = ended.stderr.lines().last().unwrap();
    assert!(line.contains("cannot be written: the credentials have expired: renew them"), "{line}");
    assert!(line.ends_with("run the same command again, it goes on where it was"), "{line}");
}

#[test]
fn an_odd_key_is_a_row_of_failures_and_the_rest_is_scored() {
    let folder = Folder::new();
    folder.picture("1.png", 20, 20);
    let picture = std::fs::read(folder.path("1.png")).unwrap();
    let odd = [
        "in/nut//2.png",
        "in/nut/../3.png",
        "in/./4.png",
        "in//5.png",
        "in/nut/6\n.png",
        "in/nut/\u{1}7.png",
        "in/nut//",
        "in/nut//notes.txt",
    ];
    let mut keys = (0..2500).map(|n| format!("in/nut/t{n}.txt")).collect::<Vec<_>>();
    keys.extend(["in/nut/1.png", "in/nut/a%FFb.png", "in/nut/ c&d .png"].map(str::to_owned));
    keys.extend(odd.map(str::to_owned));
    let objects = keys.iter().map(|key| (key.as_str(), &picture[..])).collect::<Vec<_>>();
    let server = FakeS3::start(&objects);
    let mut command = filo("score");
    command.args(["--input", "s3://b/in", "--weights", WEIGHTS, "--output"]);
    command.arg(folder.path("out"));
    let ended = run(server.with(command));
    assert!(ended.has_scored(3, 6), "{}\n{}", ended.stdout, ended.stderr);
    let rows = rows(&folder.path("out"), 9);
    let scored = rows.scores.iter().map(|row| row.image_id.as_str()).collect::<Vec<_>>();
    assert_eq!(scored, ["nut/ c&d .png", "nut/1.png", "nut/a%FFb.png"]);
    let failed = |id: &str| rows.failures.iter().find(|row| row.image_id == id).unwrap();
    let empty = failed("nut/\\x2F2.png");
    assert_eq!((empty.stage.as_str(), empty.uri.as_str()), ("list", "s3://b/in/nut//2.png"));
    assert!(empty.message.contains("empty part: copy the object"), "{}", empty.message);
    assert_eq!(failed("nut/6\\x0A.png").uri, "s3://b/in/nut/6%0A.png");
    for id in ["nut/\\x2E\\x2E/3.png", "\\x2E/4.png", "\\x2F5.png", "nut/\\x017.png"] {
        failed(id);
    }
}

#[test]
fn a_profile_opens_a_bucket_and_one_that_cannot_says_what_does() {
    let folder = Folder::new();
    folder.picture("1.png", 20, 20);
    let picture = std::fs::read(folder.path("1.png")).unwrap();
    let server = FakeS3::start(&[("in/nut/1.png", &picture)]);
    folder.file(
        "home/.aws/config",
        format!(
            "[profile lab]\nregion = eu-north-1\nservices = lab\ncredential_process = sh '{}'\n\
             [services lab]\ns3 =\n  endpoint_url = http://{}\n[profile corp]\nsso_session = corp\n",
            folder.path("keys.sh").display(),
            server.address
        ),
    );
    folder.file(
        "keys.sh",
        "echo '{\"Version\":1,\"AccessKeyId\":\"LABKEY\",\"SecretAccessKey\":\"wJalrXUtnFEMIbPxRfiCY\",\
         \"SessionToken\":\"t0kenOfSession\",\"Expiration\":\"2999-01-01T00:00:00Z\"}'",
    );
    let score = |profile: &str| {
        let mut command = filo("score");
        command.args(["--input", "s3://b/in", "--output", "s3://b/out", "--weights", WEIGHTS]);
        command.env("HOME", folder.path("home")).env("AWS_PROFILE", profile);
        command.env("PATH", std::env::var("PATH").unwrap());
        run(command)
    };
    let ended = score("lab");
    assert!(ended.has_scored(1, 0), "{}", ended.stderr);
    let asked = server.asked();
    let signed =
        |name: &str, part: &str| asked.iter().all(|asked| asked.headers[name].contains(part));
    assert!(
        signed("authorization", "Credential=LABKEY/") && signed("authorization", "/eu-north-1/s3/")
    );
    assert!(signed("x-amz-security-token", "t0kenOfSession"));
    let offered = "aws configure export-credentials --profile corp --format env";
    refused_in_a_line(&score("corp"), &["profile corp", "signs in by SSO", offered]);
    refused_in_a_line(
        &score("nobody"),
        &["AWS_PROFILE=nobody: no such profile", "there are corp, lab"],
    );
}

#[test]
fn a_disk_never_gets_the_advice_of_a_bucket() {
    let folder = Folder::new();
    folder.picture("in/nut/1.png", 20, 20);
    folder.file("taken", "a file");
    for (out, said) in [
        ("taken", "a file is where a folder must be"),
        ("taken/out", "a file is where a folder must be"),
        (&*"n".repeat(300), "the name is too long for this disk"),
        ("/dev/full/out", "a file is where a folder must be"),
    ] {
        let ended = run(folder.score_to(out));
        refused_in_a_line(&ended, &[said]);
        assert!(!ended.stderr.contains("AWS_"), "{}", ended.stderr);
    }
}

#[test]
fn an_outage_in_the_middle_is_said_and_waited_for() {
    let folder = Folder::new();
    folder.picture("1.png", 20, 20);
    let picture = std::fs::read(folder.path("1.png")).unwrap();
    let began = std::sync::OnceLock::new();
    // For twelve seconds from the first write on, nothing works.
    let server = FakeS3::answering(&[("in/nut/1.png", &picture)], move |asked| {
        let writes = asked.line.starts_with("PUT");
        let since: &Instant = if writes { began.get_or_init(Instant::now) } else { began.get()? };
        let out = since.elapsed() < Duration::from_secs(12);
        out.then(|| ("503 Service Unavailable".to_owned(), "wait".to_owned()))
    });
    let mut command = filo("score");
    command.args(["--input", "s3://b/in", "--output", "s3://b/out", "--weights", WEIGHTS]);
    let ended = run(server.with(command));
    assert!(ended.has_scored(1, 0), "{}", ended.stderr);
    let said = format!("(http://{} answers 503 Service Unavailable); still trying", server.address);
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    assert!(ended.stderr.contains("Ctrl-C stops"), "{}", ended.stderr);
}

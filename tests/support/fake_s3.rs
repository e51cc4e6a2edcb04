//! A small object store of the test's own: it keeps keys as they are, where real servers that are
//! easily started tidy them, and answers errors at will. Signatures are not checked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;

/// What a request asked for: its first line and its headers, names in lower case.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    pub headers: BTreeMap<String, String>,
}

/// Says what to answer instead: a status line without its version, headers, and a page.
type Instead = dyn Fn(&Asked) -> Option<(String, String)> + Send + Sync;

/// The server, for as long as the test.
pub struct FakeS3 {
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeS3 {
    /// A bucket `b` with `objects`.
    pub fn start(objects: &[(&str, &[u8])]) -> Self {
        FakeS3::answering(objects, |_| None)
    }

    /// As [`FakeS3::start`], with other answers to some requests.
    pub fn answering(
        objects: &[(&str, &[u8])],
        instead: impl Fn(&Asked) -> Option<(String, String)> + Send + Sync + 'static,
    ) -> Self {
        let objects = objects.iter().map(|(key, bytes)| (key.to_string(), bytes.to_vec()));
        let objects = Arc::new(Mutex::new(objects.collect::<BTreeMap<_, _>>()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, instead): (_, Arc<Instead>) = (asked.clone(), Arc::new(instead));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (objects, log, instead) = (objects.clone(), log.clone(), instead.clone());
                std::thread::spawn(move || serve(stream, &objects, &log, &*instead));
            }
        });
        FakeS3 { address, asked }
    }

    /// `command` with the variables of a client of this server.
    pub fn with(&self, mut command: Command) -> Command {
        command.env("AWS_ENDPOINT_URL", format!("http://{}", self.address));
        command.env("AWS_ACCESS_KEY_ID", "of-the-test").env("AWS_REGION", "us-east-1");
        command.env("AWS_SECRET_ACCESS_KEY", "hush-of-the-test");
        command
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    objects: &Mutex<BTreeMap<String, Vec<u8>>>,
    log: &Mutex<Vec<Asked>>,
    instead: &Instead,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) => return,
            Ok(_) => {}
            Err(_) => {
                // TLS, which is no text: what servers do.
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                return;
            }
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':') {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let asked = Asked { line: line.trim().to_owned(), headers };
        log.lock().unwrap().push(asked.clone());
        let (head, page) = match instead(&asked) {
            Some((head, page)) => (head, page.into_bytes()),
            None => answer(&asked, body, &mut objects.lock().unwrap()),
        };
        let page_sent: &[u8] = if asked.line.starts_with("HEAD") { &[] } else { &page };
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", page.len());
        if stream.write_all(&[head.as_bytes(), page_sent].concat()).is_err() {
            return;
        }
    }
}

fn answer(
    asked: &Asked,
    body: Vec<u8>,
    objects: &mut BTreeMap<String, Vec<u8>>,
) -> (String, Vec<u8>) {
    let mut words = asked.line.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let key = decoded(path.splitn(3, '/').nth(2).unwrap_or(""));
    let of = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| decoded(value))
    };
    let changed = "ETag: \"1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT";
    let missing = || {
        let page = "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code></Error>";
        ("404 Not Found".to_owned(), page.as_bytes().to_vec())
    };
    match method {
        "GET" if of("list-type").is_some() => {
            let prefix = of("prefix").unwrap_or_default();
            let keys = objects.iter().filter(|(key, _)| key.starts_with(&prefix));
            let items = keys.map(|(key, bytes)| {
                let key = html_escape::encode_text(key);
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                     <ETag>\"1\"</ETag><Size>{}</Size></Contents>",
                    bytes.len()
                )
            });
            let items = items.collect::<String>();
            let page = format!(
                "<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
            );
            ("200 OK".to_owned(), page.into_bytes())
        }
        "GET" | "HEAD" => match objects.get(&key) {
            Some(bytes) => (format!("200 OK\r\n{changed}"), bytes.clone()),
            None => missing(),
        },
        "PUT" => {
            objects.insert(key, body);
            (format!("200 OK\r\n{changed}"), Vec::new())
        }
        "POST" if query.starts_with("delete") => {
            let page = String::from_utf8_lossy(&body).into_owned();
            let keys = page.split("<Key>").skip(1).filter_map(|text| text.split('<').next());
            let deleted = keys.map(|key| {
                objects.remove(html_escape::decode_html_entities(key).as_ref());
                format!("<Deleted><Key>{key}</Key></Deleted>")
            });
            let page = format!("<DeleteResult>{}</DeleteResult>", deleted.collect::<String>());
            ("200 OK".to_owned(), page.into_bytes())
        }
        _ => ("405 Method Not Allowed".to_owned(), Vec::new()),
    }
}

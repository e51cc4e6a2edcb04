//! A small hub of the test's own, in the protocol of the Hugging Face Hub: a server of documents, which
//! redirects to another one with the files, by an address that is signed. It answers otherwise at will.
//! In: the files of a repository. Out: its address, and what both servers were asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};

/// What is behind `?` in addresses of files.
pub const SIGNATURE: &str = "Signature=of-the-storage";

const REPOSITORY: &str = "FantasticGNU/FiLo";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Hub,
    Storage,
}

/// What a request asked for: its first line and its headers, names in lower case.
#[derive(Debug, Clone)]
pub struct Asked {
    pub of: Of,
    pub line: String,
    pub headers: BTreeMap<String, String>,
}

impl Asked {
    pub fn is_for(&self, part: &str) -> bool {
        self.line.contains(part)
    }
}

/// What is done instead of a right answer.
#[derive(Debug, Clone)]
pub enum Instead {
    /// A status line without its version, with headers, and a page.
    Answer(String, String),
    /// The right answer, of whose body only so many bytes come before the connection is closed.
    Cut(usize),
    /// The same, but the connection stays open.
    Stall(usize),
    /// The right body without a length, and these bytes behind it.
    Longer(Vec<u8>),
    /// The whole file, whatever part was asked for.
    Whole,
    /// No answer at all.
    Silence,
}

type Rule = dyn Fn(&Asked) -> Option<Instead> + Send + Sync;

/// What the repository holds.
#[derive(Default)]
pub struct Content {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Of the page of the repository.
    pub card: Value,
    /// Sizes and digests that are stated instead of the true ones.
    pub stated: BTreeMap<String, (u64, String)>,
}

impl Content {
    /// Another content has another one.
    pub fn commit(&self) -> String {
        let files = self.files.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes].concat());
        hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &files.collect::<Vec<_>>()).as_ref())
    }

    fn tree(&self) -> Value {
        let entry = |(path, bytes): (&String, &Vec<u8>)| {
            let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
            let oid = hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref());
            let (size, sha256) = match self.stated.get(path) {
                Some(stated) => stated.clone(),
                None => (bytes.len() as u64, sha256(bytes)),
            };
            match path.ends_with(".pth") {
                true => json!({ "type": "file", "path": path, "size": size, "oid": oid,
                                "lfs": { "oid": sha256, "size": size, "pointerSize": 134 } }),
                false => json!({ "type": "file", "path": path, "size": size, "oid": oid }),
            }
        };
        let folder =
            json!({ "type": "directory", "path": "figs", "size": 0, "oid": self.commit() });
        self.files.iter().map(entry).chain([folder]).collect()
    }
}

/// The servers, for as long as the test.
pub struct FakeHub {
    pub address: String,
    pub content: Arc<Mutex<Content>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    rule: Arc<Mutex<Box<Rule>>>,
}

struct Shared {
    content: Arc<Mutex<Content>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    rule: Arc<Mutex<Box<Rule>>>,
    storage: String,
}

impl FakeHub {
    /// A hub with the one repository.
    pub fn start(content: Content) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [address, storage] =
            [0, 1].map(|n| format!("http://{}", listeners[n].local_addr().unwrap()));
        let hub = FakeHub {
            address,
            content: Arc::new(Mutex::new(content)),
            asked: Arc::default(),
            rule: Arc::new(Mutex::new(Box::new(|_| None))),
        };
        let (content, asked, rule) = (hub.content.clone(), hub.asked.clone(), hub.rule.clone());
        let shared = Arc::new(Shared { content, asked, rule, storage });
        for (of, listener) in [Of::Hub, Of::Storage].into_iter().zip(listeners) {
            let shared = shared.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = shared.clone();
                    // A client that goes away is none of the server's problems.
                    std::thread::spawn(move || drop(serve(stream, of, &shared)));
                }
            });
        }
        hub
    }

    /// From now on, answers to some requests are others.
    pub fn instead(&self, rule: impl Fn(&Asked) -> Option<Instead> + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// `command` as a client of this hub.
    pub fn with(&self, mut command: Command) -> Command {
        command.env("HF_ENDPOINT", &self.address);
        command
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The ranges of all requests for a file, empty where there was none.
    pub fn ranges(&self, file: &str) -> Vec<String> {
        let asked = self.asked();
        let of_file = asked.iter().filter(|asked| asked.of == Of::Storage && asked.is_for(file));
        of_file.map(|asked| asked.headers.get("range").cloned().unwrap_or_default()).collect()
    }
}

fn serve(mut stream: TcpStream, of: Of, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let asked = Asked { of, line: line.trim().to_owned(), headers };
        shared.asked.lock().unwrap().push(asked.clone());
        let instead = (shared.rule.lock().unwrap())(&asked);
        let (head, body) = match &instead {
            Some(Instead::Answer(head, page)) => (head.clone(), page.clone().into_bytes()),
            Some(Instead::Whole) => {
                let mut asked = asked.clone();
                asked.headers.remove("range");
                answer(&asked, shared)
            }
            _ => answer(&asked, shared),
        };
        let length = format!("Content-Length: {}\r\n", body.len());
        let (length, sent) = match &instead {
            Some(Instead::Cut(bytes) | Instead::Stall(bytes)) => {
                (length, body[..body.len().min(*bytes)].to_vec())
            }
            Some(Instead::Longer(more)) => {
                ("Connection: close\r\n".to_owned(), [body, more.clone()].concat())
            }
            Some(Instead::Silence) => (String::new(), Vec::new()),
            Some(Instead::Answer(..) | Instead::Whole) | None => (length, body),
        };
        if !matches!(instead, Some(Instead::Silence)) {
            let head = format!("HTTP/1.1 {head}\r\n{length}\r\n");
            stream.write_all(&[head.as_bytes(), &sent].concat())?;
        }
        match instead {
            Some(Instead::Cut(_) | Instead::Longer(_)) => return Ok(()),
            // Until the other side has had enough.
            Some(Instead::Stall(_) | Instead::Silence) => {
                return reader.read_line(&mut String::new()).map(drop);
            }
            Some(Instead::Answer(..) | Instead::Whole) | None => {}
        }
    }
}

fn answer(asked: &Asked, shared: &Shared) -> (String, Vec<u8>) {
    let content = shared.content.lock().unwrap();
    let target = asked.line.split(' ').nth(1).unwrap_or("");
    let path = target.split('?').next().unwrap_or("");
    let missing = ("404 Not Found".to_owned(), b"Entry not found".to_vec());
    let commit = content.commit();
    let json = |value: Value| ("200 OK".to_owned(), value.to_string().into_bytes());
    let page = format!("/api/models/{REPOSITORY}");
    if asked.of == Of::Storage {
        let name = path.trim_start_matches("/stored/");
        let (Some(file), true) = (content.files.get(name), target.ends_with(SIGNATURE)) else {
            return missing;
        };
        return ranged(asked, file);
    }
    if path == page {
        return json(json!({ "id": REPOSITORY, "sha": commit, "cardData": content.card }));
    }
    if path == format!("{page}/tree/{commit}") {
        return json(content.tree());
    }
    // By a relative address to another one of the hub, and from there to the storage.
    if let Some(name) = path.strip_prefix(&format!("/{REPOSITORY}/resolve/{commit}/"))
        && content.files.contains_key(name)
    {
        return (format!("307 Temporary Redirect\r\nLocation: /moved/{name}"), Vec::new());
    }
    match path.strip_prefix("/moved/") {
        Some(name) => {
            let to = format!("{}/stored/{name}?{SIGNATURE}", shared.storage);
            (format!("302 Found\r\nLocation: {to}"), Vec::new())
        }
        None => missing,
    }
}

/// The part of a file that is asked for.
fn ranged(asked: &Asked, file: &[u8]) -> (String, Vec<u8>) {
    let range = asked.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
    let start = range.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
    match start {
        None => ("200 OK".to_owned(), file.to_vec()),
        Some(start) if start < file.len() => {
            let (last, size) = (file.len() - 1, file.len());
            let head = format!("206 Partial Content\r\nContent-Range: bytes {start}-{last}/{size}");
            (head, file[start..].to_vec())
        }
        Some(_) => ("416 Range Not Satisfiable".to_owned(), Vec::new()),
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! A small server of the OpenAI protocol, for tests. It refuses what a strict server refuses: other
//! paths, and questions without model, messages or a JSON schema that it can hold answers against.
//! In: what it says to one request after the other. Out: its address, and what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What the server does with a request.
pub enum Reply {
    /// An answer whose content is this text.
    Says(String),
    /// Something else: status, headers and body as they are.
    Raw(u16, &'static [(&'static str, &'static str)], String),
    /// Nothing for so long, then an answer that nobody waits for.
    Sleeps(Duration),
}

impl Reply {
    /// A good answer.
    pub fn details(details: &[&str]) -> Reply {
        Reply::Says(json!({ "details": details }).to_string())
    }
}

pub struct Asked {
    /// The header, if there was one.
    pub authorization: Option<String>,
    pub body: Value,
}

impl Asked {
    /// The question itself.
    pub fn text(&self) -> &str {
        self.body["messages"][0]["content"].as_str().unwrap()
    }
}

pub struct ChatServer {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl ChatServer {
    /// Gives `replies` in turn, the last one for ever.
    pub fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = ChatServer { url, asked: asked.clone() };
        std::thread::spawn(move || {
            for (turn, stream) in listener.incoming().enumerate() {
                let reply = &replies[turn.min(replies.len() - 1)];
                // A client that goes away is none of the server's problems.
                let _ = stream.and_then(|stream| serve(stream, reply, &asked));
            }
        });
        server
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn serve(mut stream: TcpStream, reply: &Reply, asked: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (mut authorization, mut length) = (None, 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.trim().to_string()),
            "content-length" => length = value.trim().parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let problem = problem_of(&line, &body);
    asked.lock().unwrap().push(Asked { authorization, body });
    let answer =
        |said: &str| json!({ "choices": [{ "message": { "content": said } }] }).to_string();
    let (status, headers, body) = match (problem, reply) {
        (Some(problem), _) => {
            (400, &[][..], json!({ "error": { "message": problem } }).to_string())
        }
        (None, Reply::Says(said)) => (200, &[][..], answer(said)),
        (None, Reply::Raw(status, headers, body)) => (*status, *headers, body.clone()),
        (None, Reply::Sleeps(time)) => {
            std::thread::sleep(*time);
            (200, &[][..], answer("{}"))
        }
    };
    let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} Some\r\n{}content-length: {length}\r\nconnection: close\r\n\r\n{body}",
        headers.collect::<String>()
    )
}

/// What a strict server would refuse.
fn problem_of(line: &str, body: &Value) -> Option<&'static str> {
    let format = &body["response_format"];
    let schema = &format["json_schema"]["schema"];
    if !line.starts_with("POST /v1/chat/completions ") {
        Some("no such path")
    } else if !body["model"].is_string() || !body["messages"][0]["content"].is_string() {
        Some("model and messages are needed")
    } else if format["type"] != "json_schema" || format["json_schema"]["strict"] != true {
        Some("a strict JSON schema is needed")
    } else if schema["additionalProperties"] != false || schema["required"][0] != "details" {
        Some("strict schemas name all their properties")
    } else {
        None
    }
}

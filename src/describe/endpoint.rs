//! An OpenAI-compatible server of language models: `POST …/chat/completions`. In: a question and the
//! JSON schema of its answer. Out: the text of the answer, whatever it is. What may pass is tried
//! again, and a server that names a time is given it.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::error::DescribeError;
use crate::store::{redact, retry_after, runtime};

/// Tries of one question.
const TRIES: u32 = 5;

const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A server that wants more time than this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Bytes of an answer; a dozen descriptions are a hundredth of it.
const MAX_ANSWER: usize = 1 << 20;

/// Characters of what a server says that are shown.
const MAX_SHOWN: usize = 200;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How freely a model answers. At 0 it would repeat what could not be used.
const TEMPERATURE: f64 = 0.7;

/// Variables that may hold the key, the first that is set counts.
const KEY_VARIABLES: [&str; 2] = ["FILO_DESCRIBE_KEY", "OPENAI_API_KEY"];

/// A secret: never shown, logged or stored.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// The key in the environment, if there is one.
    pub fn from_environment() -> Option<Key> {
        let set = KEY_VARIABLES.iter().filter_map(|name| std::env::var(name).ok());
        set.map(|key| key.trim().to_string()).find(|key| !key.is_empty()).map(Key)
    }

    /// `text` without the key, which a server may have repeated.
    fn hidden_in(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// Where models answer.
#[derive(Debug)]
pub struct Endpoint {
    url: Url,
    key: Option<Key>,
    client: Client,
    runtime: &'static Runtime,
}

/// Why a try failed.
enum Trouble {
    /// It may pass.
    Passing {
        why: String,
        wait: Option<Duration>,
    },
    Lasting(DescribeError),
}

/// What a server answers; the rest is not read.
#[derive(Deserialize)]
struct Chat {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

impl Endpoint {
    /// `address` is that of the API, such as `http://localhost:8080/v1`; `timeout` that of one try.
    ///
    /// # Errors
    /// If it is no such address.
    pub fn new(address: &str, key: Option<Key>, timeout: Duration) -> Result<Self, DescribeError> {
        let bad =
            |why: &str| DescribeError::BadEndpoint { url: redact(address), why: why.to_string() };
        let mut url = Url::parse(address).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(bad("is no address of http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("a key does not belong there: set FILO_DESCRIBE_KEY"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("has something behind its path"));
        }
        let path = url.path().trim_end_matches('/').trim_end_matches("/chat/completions");
        url.set_path(&format!("{path}/chat/completions"));
        if let Some(key) = &key
            && HeaderValue::from_str(&key.0).is_err()
        {
            return Err(bad("the key in the environment has characters that no key has"));
        }
        let runtime = runtime().map_err(|error| bad(&error.to_string()))?;
        let client = Client::builder()
            .timeout(timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            // A key goes to no other server than the one named.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| bad(&error.without_url().to_string()))?;
        Ok(Endpoint { url, key, client, runtime })
    }

    /// The answer of `model` to `text`, which should be JSON of `schema`.
    ///
    /// # Errors
    /// If the server refuses the question, or does not answer in the time and tries there are.
    pub fn ask(
        &self,
        model: &str,
        text: &str,
        schema: Value,
        seed: u64,
    ) -> Result<String, DescribeError> {
        let body = json!({
            "model": model,
            "messages": [{ "role": "user", "content": text }],
            "temperature": TEMPERATURE,
            "seed": seed,
            "response_format": {
                "type": "json_schema",
                "json_schema": { "name": "descriptions", "strict": true, "schema": schema },
            },
        });
        let body = body.to_string();
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        let answer = loop {
            match self.runtime.block_on(self.post(body.clone())) {
                Ok(answer) => break answer,
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing { why, wait }) => {
                    let wait = wait.unwrap_or(pause);
                    if tries == TRIES || wait > LONGEST_PAUSE {
                        return Err(DescribeError::NoAnswer { url: self.shown(), tries, why });
                    }
                    tracing::warn!("{}: {why}; again in {:.1} s", self.shown(), wait.as_secs_f64());
                    std::thread::sleep(wait);
                    pause *= 2;
                    tries += 1;
                }
            }
        };
        content(&answer)
            .map_err(|why| DescribeError::OddAnswer { url: self.shown(), why: self.excerpt(&why) })
    }

    fn shown(&self) -> String {
        self.url.to_string()
    }

    /// What a server said, in one short line without the key.
    fn excerpt(&self, said: &str) -> String {
        let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = self.key.as_ref().map_or(line.clone(), |key| key.hidden_in(&line));
        match line.char_indices().nth(MAX_SHOWN) {
            None => line,
            Some((end, _)) => format!("{}…", &line[..end]),
        }
    }

    async fn post(&self, body: String) -> Result<String, Trouble> {
        let mut request =
            self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {}", key.0));
        }
        let passing = |error: reqwest::Error| {
            let why = if error.is_timeout() {
                "it takes too long".to_string()
            } else {
                self.excerpt(&innermost(&error.without_url()))
            };
            Trouble::Passing { why, wait: None }
        };
        let response = request.body(body).send().await.map_err(passing)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = text_of(response).await.map_err(|error| match error {
            Some(error) => passing(error),
            None => Trouble::Lasting(DescribeError::OddAnswer {
                url: self.shown(),
                why: format!("it is larger than {MAX_ANSWER} bytes"),
            }),
        })?;
        if status.is_success() {
            return Ok(text);
        }
        let (url, said) = (self.shown(), self.excerpt(&message_of(&text)));
        let code = status.as_u16();
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Trouble::Lasting(DescribeError::Refused { url, status: code })
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Trouble::Passing {
                why: format!("status {code}: {said}"),
                wait: retry_after(&headers),
            },
            status if status.is_server_error() => Trouble::Passing {
                why: format!("status {code}: {said}"),
                wait: retry_after(&headers),
            },
            _ => Trouble::Lasting(DescribeError::Rejected { url, status: code, said }),
        })
    }
}

/// The body; `Err(None)` if it is larger than any answer.
async fn text_of(mut response: Response) -> Result<String, Option<reqwest::Error>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Some)? {
        if bytes.len() + chunk.len() > MAX_ANSWER {
            return Err(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The text that a model has said.
fn content(answer: &str) -> Result<String, String> {
    let chat: Chat = serde_json::from_str(answer).map_err(|error| format!("{error}: {answer}"))?;
    let said = chat.choices.into_iter().next().and_then(|choice| choice.message.content);
    let said = said.ok_or_else(|| format!("it has no content: {answer}"))?;
    // Models without structured output like to fence their JSON.
    let said = said.trim();
    let inside = said.strip_prefix("```json").or_else(|| said.strip_prefix("```"));
    let inside = inside.and_then(|said| said.strip_suffix("```"));
    Ok(inside.unwrap_or(said).trim().to_string())
}

/// What an error answer says for people: OpenAI's form, or all of it.
fn message_of(text: &str) -> String {
    let message = serde_json::from_str::<Value>(text).ok().and_then(|value| {
        let error = &value["error"];
        error["message"].as_str().or_else(|| error.as_str()).map(str::to_string)
    });
    message.unwrap_or_else(|| text.to_string())
}

/// The cause at the bottom: "connection refused" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_the_api_and_holds_no_secret() {
        let url = |address: &str| {
            Endpoint::new(address, None, Duration::from_secs(1)).map(|endpoint| endpoint.shown())
        };
        for address in ["http://h:1/v1", "http://h:1/v1/", "http://h:1/v1/chat/completions"] {
            assert_eq!(url(address).unwrap(), "http://h:1/v1/chat/completions");
        }
        for address in ["h:1/v1", "ftp://h/v1", "http://u:secret@h/v1", "http://h/v1?key=secret"] {
            let error = url(address).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{address}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_servers_words_are_cut_and_lose_the_key() {
        let key = Some(Key("sk-123".to_string()));
        let endpoint = Endpoint::new("http://h/v1", key, Duration::from_secs(1)).unwrap();
        assert_eq!(endpoint.excerpt("bad key\n sk-123 !"), "bad key *** !");
        assert_eq!(endpoint.excerpt(&"é".repeat(500)).chars().count(), MAX_SHOWN + 1);
        assert!(!format!("{endpoint:?}").contains("sk-123"));
    }

    #[test]
    fn fences_around_json_go() {
        let chat = |said: &str| json!({ "choices": [{ "message": { "content": said } }] });
        for said in ["{}", " {} ", "```json\n{}\n```", "```\n{}```"] {
            assert_eq!(content(&chat(said).to_string()).unwrap(), "{}");
        }
        assert!(content("{}").is_err() && content("<html>").is_err());
        let empty = json!({ "choices": [{ "message": { "content": null } }] });
        assert!(content(&empty.to_string()).unwrap_err().starts_with("it has no content"));
    }
}

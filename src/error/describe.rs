//! Errors of `filo describe`.

use std::path::PathBuf;

/// Asking a language model for descriptions.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    #[error(
        "--endpoint {url}: {why}: give the address of the API, such as http://localhost:8080/v1"
    )]
    BadEndpoint { url: String, why: String },
    #[error("{url}: the server refuses the key (status {status}): set FILO_DESCRIBE_KEY")]
    Refused { url: String, status: u16 },
    #[error(
        "{url}: the server does not take the question (status {status}): {said}: check --endpoint and --model"
    )]
    Rejected { url: String, status: u16, said: String },
    #[error(
        "{url}: no answer after {tries} tries ({why}): check that the server runs, or give it longer with --timeout"
    )]
    NoAnswer { url: String, tries: u32, why: String },
    #[error(
        "{url}: what the server says is not an answer of a chat ({why}): is it OpenAI-compatible?"
    )]
    OddAnswer { url: String, why: String },
    #[error(
        "{category}: {model} gave no description that can be used, asked {rounds} times ({why}): try another --model or --about"
    )]
    NoDescription { category: String, model: String, rounds: u32, why: String },
    #[error("{path}: is there already: choose another --out, or remove it", path = path.display())]
    Exists { path: PathBuf },
}

impl DescribeError {
    /// 2 where what was asked for is wrong; 1 where what came of it is.
    pub fn exit_code(&self) -> u8 {
        match self {
            DescribeError::BadEndpoint { .. }
            | DescribeError::Refused { .. }
            | DescribeError::Rejected { .. }
            | DescribeError::Exists { .. } => 2,
            DescribeError::NoAnswer { .. }
            | DescribeError::OddAnswer { .. }
            | DescribeError::NoDescription { .. } => 1,
        }
    }
}

//! What to do about a store's error, in one place. In: an error of the system or of a bucket's
//! client. Out: one line, the cause and what helps; a disk's error never ends in advice about
//! buckets, and none shows a credential or a page of XML.

use std::error::Error as StdError;
use std::io::ErrorKind;

use super::answer::{Answer, NO_ROLE, PLAIN_HTTP_ON_TLS};
use super::redact::redacted;
use super::settings::BadSetting;
use super::transport::{HANDSHAKE_EOF, NoAnswer, causes, is_unknown_host};
use crate::error::StoreAction;

/// Variables that send requests through a proxy.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"];

const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "InvalidBucketName", "ContainerNotFound"];

const NO_CREDENTIALS: &str = "no credentials: set the variables of the store (AWS_ACCESS_KEY_ID and \
                              AWS_SECRET_ACCESS_KEY, GOOGLE_…, AZURE_…), or AWS_PROFILE";

/// The cause of `error`, met at `action`, with what to do.
pub(super) fn advice(action: StoreAction, error: &(dyn StdError + 'static)) -> String {
    for cause in causes(error) {
        if let Some(bad) = cause.downcast_ref::<BadSetting>() {
            return redacted(&bad.to_string());
        }
        if let Some(error) = cause.downcast_ref::<NoAnswer>() {
            return redacted(&of_no_answer(error));
        }
        if let Some((status, answer)) = Answer::in_text(&cause.to_string())
            && cause.downcast_ref::<std::io::Error>().is_none()
        {
            return redacted(&of_answer(status, &answer, action));
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>()
            && error.get_ref().is_none()
        {
            return redacted(&of_disk(error, action));
        }
    }
    redacted(&of_the_rest(error))
}

/// Whether what is not there is the bucket itself.
pub(super) fn is_of_bucket(error: &object_store::Error) -> bool {
    let answers = causes(error).filter_map(|cause| Answer::in_text(&cause.to_string()));
    answers.into_iter().any(|(_, answer)| NO_BUCKET.contains(&answer.code.as_str()))
}

/// What the system says of a file that cannot be written, with what to do.
pub(crate) fn why_unwritable(error: &std::io::Error) -> String {
    of_disk(error, StoreAction::Write)
}

/// What the system says of a file.
fn of_disk(error: &std::io::Error, action: StoreAction) -> String {
    let reads = matches!(action, StoreAction::Read | StoreAction::List);
    let text = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "no space left: free space or choose another folder"
        }
        ErrorKind::PermissionDenied if reads => {
            "not permitted: give this user the right to read it"
        }
        ErrorKind::PermissionDenied => "not permitted: make it writable or choose another folder",
        ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: mount it writable or choose another folder"
        }
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            "a file is where a folder must be: choose another path"
        }
        ErrorKind::IsADirectory => "a folder is where a file must be: choose another path",
        ErrorKind::NotFound => "no such file or folder: check the path",
        ErrorKind::FileTooLarge => {
            "the file is larger than the disk or this user's limit allows: raise it (ulimit -f) or \
             choose another folder"
        }
        ErrorKind::InvalidFilename => "the name is too long for this disk: choose a shorter path",
        _ => return format!("{error}: check the disk"),
    };
    text.to_owned()
}

/// What a server says of a request.
fn of_answer(status: u16, answer: &Answer, action: StoreAction) -> String {
    let Answer { code, region, credentials } = answer;
    let credentials = match credentials.as_str() {
        "" => "the variables of the store (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …)",
        origin => origin,
    };
    let resume = "then run the same command again, it goes on where it was";
    match (code.as_str(), status) {
        (NO_ROLE, _) => NO_CREDENTIALS.to_owned(),
        (code, _) if NO_BUCKET.contains(&code) => {
            "no such bucket: check the name in the URI, and the endpoint".to_owned()
        }
        ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired", _) => {
            format!("the credentials have expired: renew them (they are of {credentials}), {resume}")
        }
        ("RequestTimeTooSkewed", _) => {
            format!("the clock of this machine is wrong by more than a quarter of an hour: set it, {resume}")
        }
        ("InvalidAccessKeyId", _) => {
            format!("the store refuses these credentials: it knows no such access key: check {credentials}")
        }
        ("SignatureDoesNotMatch", _) => format!(
            "the store refuses these credentials: the secret does not fit the access key: check {credentials}"
        ),
        ("InvalidToken" | "InvalidClientTokenId", _) => format!(
            "the store refuses these credentials: the session token is not of this access key: check {credentials}"
        ),
        (
            "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        ) => match region.as_str() {
            "" => "the bucket is in another region: set AWS_REGION to it, and leave AWS_ENDPOINT_URL out \
                   if that names a region"
                .to_owned(),
            region => format!("the bucket is in the region {region}: set AWS_REGION={region}"),
        },
        (PLAIN_HTTP_ON_TLS, _) => {
            "the server speaks TLS there: write https:// in the endpoint".to_owned()
        }
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "", 401 | 403) | (_, 401 | 403) => {
            let right = match action {
                StoreAction::Open | StoreAction::List => "list the bucket (s3:ListBucket)",
                StoreAction::Read => "read objects (s3:GetObject)",
                StoreAction::Write => "write objects (s3:PutObject)",
                StoreAction::Delete => "delete objects (s3:DeleteObject)",
            };
            format!(
                "access denied: the store refuses these credentials ({credentials}): give them the right to {right}"
            )
        }
        (_, 404) => "no such object or bucket: check the URI".to_owned(),
        (_, 407) => "the proxy asks for a user: check HTTPS_PROXY and HTTP_PROXY".to_owned(),
        (_, 405 | 501) => {
            "the server does not know this request: is the endpoint that of an object store?".to_owned()
        }
        ("SlowDown" | "ServiceUnavailable" | "Busy" | "ServerBusy", _) | (_, 429 | 503) => format!(
            "the store is overloaded and was tried for a while: wait, {resume}"
        ),
        (_, 500..) => format!("the store has trouble of its own ({status}): wait, {resume}"),
        ("", 400) => format!(
            "the store refuses the request: have the credentials expired ({credentials}), or is the \
             bucket in another region (AWS_REGION)?"
        ),
        ("", status) => format!("the store answers {status}: check the endpoint"),
        (code, status) => format!("the store answers {code} ({status}): check the URI and the endpoint"),
    }
}

/// What the way to a server shows.
pub(super) fn of_no_answer(no: &NoAnswer) -> String {
    let NoAnswer { peer, by, of_machine, source, given_up: _ } = no;
    if *of_machine {
        return NO_CREDENTIALS.to_owned();
    }
    let check = match by {
        Some(by) => format!("check {by}"),
        None => "check the network and the region".to_owned(),
    };
    let error: &(dyn StdError + 'static) = source.as_ref();
    for cause in causes(error) {
        match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidMessage(_)) => {
                return no_tls(peer, &check);
            }
            Some(error @ rustls::Error::InvalidCertificate(_)) => {
                return format!(
                    "the certificate of {peer} is not trusted ({error}): add its authority to those \
                     of the system, or name it with SSL_CERT_FILE"
                );
            }
            _ => {}
        }
        let text = cause.to_string();
        if text.contains(HANDSHAKE_EOF) {
            return no_tls(peer, &check);
        }
        if text.contains("tunnel") || text.contains("proxy") {
            return format!(
                "the proxy on the way to {peer} does not let this through ({text}): check \
                 HTTPS_PROXY and HTTP_PROXY, or name the host in NO_PROXY"
            );
        }
        if text.contains("invalid HTTP version") || text.contains("invalid HTTP") {
            return format!(
                "{peer} does not answer in HTTP: is it https://, or another port?: {check}"
            );
        }
    }
    let proxy =
        PROXIES.iter().find(|name| std::env::var_os(name).is_some_and(|set| !set.is_empty()));
    let proxy = proxy.map_or(String::new(), |name| format!(", and the proxy of {name}"));
    let kind = |wanted| {
        causes(error).any(|cause| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == wanted)
        })
    };
    if kind(ErrorKind::ConnectionRefused) {
        return format!("{peer} refuses the connection, nothing listens there: {check}{proxy}");
    }
    if is_unknown_host(error) {
        return format!("the host of {peer} is unknown: {check}, and the name service{proxy}");
    }
    if causes(error).any(|cause| cause.to_string().contains("timed out"))
        || kind(ErrorKind::TimedOut)
    {
        return format!("{peer} does not answer: {check}, the network and its firewalls{proxy}");
    }
    let last = causes(error).last().map_or(String::new(), ToString::to_string);
    format!("no answer from {peer} ({}): {check} and the network{proxy}", first_line(&last))
}

fn no_tls(peer: &str, check: &str) -> String {
    format!("{peer} does not speak TLS: write http:// instead of https://: {check}")
}

fn of_the_rest(error: &(dyn StdError + 'static)) -> String {
    let texts = causes(error).map(ToString::to_string).collect::<Vec<_>>();
    if texts.iter().any(|text| text.contains("list response") || text.contains("ListResponse")) {
        return "the answer is no listing: is the endpoint that of an object store, not of its console \
                or a proxy?"
            .to_owned();
    }
    let is_missing = |cause: &(dyn StdError + 'static)| {
        matches!(cause.downcast_ref(), Some(object_store::Error::NotFound { .. }))
    };
    if causes(error).any(is_missing) {
        return "no such object or bucket: check the URI".to_owned();
    }
    first_line(texts.last().map_or("", String::as_str)).to_owned()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32, action: StoreAction) -> String {
        advice(action, &std::io::Error::from_raw_os_error(code))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_error_of_a_disk_has_advice_of_its_own_and_none_of_a_bucket() {
        use StoreAction::{List, Open, Read, Write};
        for (code, action, part) in [
            // ENOSPC and EDQUOT.
            (28, Write, "no space left: free space"),
            (122, Open, "no space left: free space"),
            // EACCES, EROFS, EFBIG, ENAMETOOLONG.
            (13, Write, "make it writable"),
            (13, Read, "the right to read it"),
            (13, List, "the right to read it"),
            (30, Open, "read-only: mount it writable"),
            (27, Write, "ulimit -f"),
            (36, Open, "choose a shorter path"),
            // EEXIST, ENOTDIR, EISDIR, ENOENT, EIO.
            (17, Open, "a file is where a folder must be"),
            (20, Write, "a file is where a folder must be"),
            (21, Write, "a folder is where a file must be"),
            (2, Read, "check the path"),
            (5, Write, "check the disk"),
        ] {
            let said = of(code, action);
            assert!(said.contains(part), "{code}: {said}");
            for word in ["endpoint", "bucket", "AWS", "region", "\n"] {
                assert!(!said.contains(word), "{code}: {said}");
            }
        }
    }

    #[test]
    fn an_error_is_found_below_those_of_the_client() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let error = object_store::Error::Generic { store: "LocalFileSystem", source: full.into() };
        assert!(advice(StoreAction::Write, &error).starts_with("no space left"));
    }
}

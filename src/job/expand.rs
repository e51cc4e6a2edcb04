//! A text with `${VAR}` goes in, the text with the variables' values comes out. Nothing else is
//! special: no defaults, no escapes, no expansion inside a value. An unset variable is an error,
//! for a path with a hole in it would name another place. Before that, `{run_date}` may become a date.

use super::values::RunDate;
use crate::error::{JobError, one_line};

/// `text` of the spec's `key` with every `${VAR}` replaced by what `env` says.
pub(super) fn expand(
    key: &'static str,
    text: &str,
    env: impl Fn(&str) -> Option<String>,
) -> Result<String, JobError> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let error = |variable: String, why| JobError::Variable { key, variable, why };
        let Some((name, tail)) = after.split_once('}') else {
            return Err(error("${".to_owned(), "is not closed by }"));
        };
        if !is_name(name) {
            let name = one_line(name, 40);
            return Err(error(format!("${{{name}}}"), "is not the name of a variable"));
        }
        let Some(value) = env(name) else {
            return Err(error(format!("${{{name}}}"), "is not set: export it"));
        };
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = tail;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// `text` of the spec's `key` with every `{run_date}` replaced by the date, which is told too if there was
/// one. `${VAR}` stays.
pub(super) fn fill(
    key: &'static str,
    text: &str,
    run_date: impl Fn() -> RunDate,
) -> Result<(String, Option<RunDate>), JobError> {
    let (mut filled, mut date, mut rest) = (String::new(), None, text);
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, tail) = match after.split_once('}') {
            Some(found) => found,
            // That of a variable is answered where it is expanded.
            None if before.ends_with('$') => (after, ""),
            None => {
                let why = "is not closed by }";
                return Err(JobError::Variable { key, variable: "{".to_owned(), why });
            }
        };
        if before.ends_with('$') {
            filled.push_str(&rest[before.len()..rest.len() - tail.len()]);
        } else if name == "run_date" {
            // Asked once: a day may end here.
            filled.push_str(&date.get_or_insert_with(&run_date).to_string());
        } else {
            let variable = format!("{{{}}}", one_line(name, 40));
            let why = "is not known: there is {run_date}, the date of the run";
            return Err(JobError::Variable { key, variable, why });
        }
        rest = tail;
    }
    filled.push_str(rest);
    Ok((filled, date))
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "LINE" => Some("line3".to_owned()),
            "NEST" => Some("${LINE}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_once() {
        let expand = |text| expand("input", text, env).unwrap();
        assert_eq!(expand("/data/${LINE}/${LINE}.d"), "/data/line3/line3.d");
        assert_eq!(expand("${NEST}"), "${LINE}");
        assert_eq!(expand("/a/$LINE/{LINE}"), "/a/$LINE/{LINE}");
    }

    #[test]
    fn a_date_is_filled_in_and_variables_stay() {
        let day = || "2026-11-24".parse().unwrap();
        let fill = |text| fill("output", text, day).map_err(|error| error.to_string());
        let filled = |text| fill(text).unwrap().0;
        assert_eq!(filled("s3://b/{run_date}/x-{run_date}"), "s3://b/2026-11-24/x-2026-11-24");
        assert_eq!(filled("/a/${run_date}/{run_date}"), "/a/${run_date}/2026-11-24");
        assert_eq!((filled("/a/${LINE"), filled("/a/}b")), ("/a/${LINE".into(), "/a/}b".into()));
        assert_eq!(fill("/a").unwrap().1, None);
        assert_eq!(fill("/a/{run_date}").unwrap().1, Some(day()));
        let unknown = fill("/a/{date}").unwrap_err();
        let text =
            "`output` has {date}, which is not known: there is {run_date}, the date of the run";
        assert_eq!(unknown, text);
        assert!(fill("/a/{run_date").unwrap_err().contains("has {, which is not closed by }"));
    }

    #[test]
    fn an_unset_or_broken_variable_is_an_error_that_names_it() {
        for (text, shown) in [
            ("/a/${SHIFT}", "${SHIFT}"),
            ("${LINE", "${"),
            ("${a b}", "${a b}"),
            ("${a\nb}", "${a b}"),
        ] {
            let error = expand("input", text, env).unwrap_err().to_string();
            assert!(error.contains(shown) && error.contains("`input`"), "{error}");
        }
    }
}

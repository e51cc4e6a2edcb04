//! A text with `${VAR}` goes in, the text with the variables' values comes out. Nothing else is
//! special: no defaults, no escapes, no expansion inside a value. An unset variable is an error,
//! for a path with a hole in it would name another place.

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

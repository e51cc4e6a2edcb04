//! What a caller asks of a listing: the layout, the columns, and which of the files. Flags and keys of
//! a job go in as checked values; the layouts and [`list`](super::list) read them here.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::{Category, LayoutChoice, ShardSize};
use crate::error::ValueError;

/// What excluded images, and folders that are not entered, are counted under.
pub(super) const EXCLUDED: &str = "(excluded)";

/// How an input is listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListOptions {
    pub layout: LayoutChoice,
    /// For images that the layout gives no category; `None`: the name of the input.
    pub category: Option<Category>,
    pub shard_size: ShardSize,
    pub columns: Columns,
    pub filter: Filter,
}

/// Which columns count, in layouts that have columns or keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Columns {
    /// Which one has the images, or their paths; `None`: the one that is called so.
    pub image: Option<String>,
    /// Those that are carried into `scores`.
    pub keep: Vec<String>,
}

/// Which images and archives of a listing count.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Filter {
    /// One of these must match; none: all.
    pub include: Vec<Glob>,
    /// None of these may match.
    pub exclude: Vec<Glob>,
    /// So many images at most, spread evenly over the listing.
    pub limit: Option<NonZeroU64>,
}

/// A pattern of paths below the input, as `.gitignore` and ripgrep read them: `*` ends at a `/` and
/// `**` does not; without a `/` it is a name at any depth; what matches a folder matches all in it.
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    matcher: GlobMatcher,
}

impl Columns {
    /// Whether something is asked of them.
    pub fn is_empty(&self) -> bool {
        self.image.is_none() && self.keep.is_empty()
    }
}

impl Filter {
    /// Why the image or archive `id` is left out, if it is.
    pub(super) fn left_out(&self, id: &str) -> Option<&'static str> {
        if self.excludes(id) {
            return Some(EXCLUDED);
        }
        let included = self.include.is_empty() || self.include.iter().any(|glob| glob.matches(id));
        (!included).then_some("(not included)")
    }

    /// Whether the file or folder `id` is excluded, or a folder that it is in.
    pub(super) fn excludes(&self, id: &str) -> bool {
        self.exclude.iter().any(|glob| glob.matches(id))
    }
}

impl Glob {
    /// Whether the path matches, or a folder that it is in.
    fn matches(&self, id: &str) -> bool {
        let mut ends = id.match_indices('/').map(|(end, _)| end);
        self.matcher.is_match(id) || ends.any(|end| self.matcher.is_match(&id[..end]))
    }
}

impl FromStr for Glob {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bad = |why: &str| {
            ValueError::new(format!(
                "a pattern such as *.png or line3/**, which this is not: {why}"
            ))
        };
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.is_empty() {
            return Err(bad("it is empty"));
        }
        let pattern = match path.strip_prefix('/') {
            Some(anchored) => anchored.to_owned(),
            None if path.contains('/') => path.to_owned(),
            None => format!("**/{path}"),
        };
        let built = GlobBuilder::new(&pattern).literal_separator(true).build();
        let glob = built.map_err(|error| bad(&error.kind().to_string()))?;
        Ok(Glob { text: text.to_owned(), matcher: glob.compile_matcher() })
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Glob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Glob {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Glob".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "minLength": 1,
            "description": "A pattern of paths below the input: `*` ends at a `/`, `**` does not."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(glob: &str, ids: &[&'static str]) -> Vec<&'static str> {
        let glob = glob.parse::<Glob>().unwrap();
        ids.iter().copied().filter(|id| glob.matches(id)).collect()
    }

    #[test]
    fn patterns_match_as_in_an_ignore_file() {
        let ids = ["1.png", "a/1.png", "a/b/2.jpg", "ab/3.png", "c/a/4.png"];
        assert_eq!(matched("*.png", &ids), ["1.png", "a/1.png", "ab/3.png", "c/a/4.png"]);
        assert_eq!(matched("/*.png", &ids), ["1.png"]);
        assert_eq!(matched("a/*", &ids), ["a/1.png", "a/b/2.jpg"]);
        assert_eq!(matched("a", &ids), ["a/1.png", "a/b/2.jpg", "c/a/4.png"]);
        assert_eq!(matched("/a/", &ids), ["a/1.png", "a/b/2.jpg"]);
        assert_eq!(matched("**/*.{jpg,jpeg}", &ids), ["a/b/2.jpg"]);
        assert_eq!(matched("?.png", &ids), ["1.png", "a/1.png", "ab/3.png", "c/a/4.png"]);
        assert_eq!(matched("a[!b]/**", &ids), Vec::<&str>::new());
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for text in ["", "/", "a{b", "[z-a]", "a["] {
            let error = text.parse::<Glob>().unwrap_err().to_string();
            assert!(error.starts_with("must be a pattern such as *.png"), "{text}: {error}");
        }
    }

    #[test]
    fn exclusion_beats_inclusion() {
        let globs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let filter = Filter {
            include: globs(&["*.png", "b/**"]),
            exclude: globs(&["old"]),
            ..Filter::default()
        };
        let why = |id| filter.left_out(id);
        assert_eq!((why("a/1.png"), why("b/1.jpg")), (None, None));
        assert_eq!(
            (why("a/1.jpg"), why("old/1.png")),
            (Some("(not included)"), Some("(excluded)"))
        );
        assert!(filter.excludes("a/old/x") && filter.excludes("old") && !filter.excludes("older"));
        assert_eq!(Filter::default().left_out("x"), None);
    }
}

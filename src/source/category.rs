//! The name of a category: what one kind of product is called in prompts, folders and tables.
//! A name that a folder, a CSV or a flag gives goes in, a checked [`Category`] comes out.
//! Never here: how a name is shown or spoken to the network.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{SourceError, ValueError};

/// Names that the metrics table uses for rows over several categories.
const RESERVED: [&str; 2] = ["__all__", "__mean__"];

/// The longest name, in characters.
const MAX_CHARS: usize = 200;

/// A category name: 1 to 200 characters, not blank, no control characters, not `__all__` or
/// `__mean__`. Cheap to clone: all pictures of a category share one text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Category(Arc<str>);

impl Category {
    /// The name as the input gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Category {
    type Err = ValueError;

    fn from_str(name: &str) -> Result<Self, ValueError> {
        let length = name.chars().count();
        let fits = !name.trim().is_empty()
            && length <= MAX_CHARS
            && !name.chars().any(char::is_control)
            && !RESERVED.contains(&name);
        if fits {
            return Ok(Category(name.into()));
        }
        Err(ValueError::new(format!(
            "1 to {MAX_CHARS} characters, no control characters, not {}",
            RESERVED.join(" or ")
        )))
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Category> for String {
    fn from(category: Category) -> String {
        category.0.as_ref().to_owned()
    }
}

impl<'de> Deserialize<'de> for Category {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Category {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Category".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "minLength": 1, "maxLength": MAX_CHARS,
            "not": { "enum": RESERVED },
            "description": "The name of one kind of product."
        })
    }
}

/// Finds the category of each picture while a layout is listed, and remembers what it found.
pub(super) struct Categories<'a> {
    chosen: Option<&'a Category>,
    root_name: &'a str,
    whole: Option<Category>,
    by_folder: HashMap<String, Category>,
}

impl<'a> Categories<'a> {
    /// `chosen` is the user's name for pictures without one, `root_name` stands in for it.
    pub(super) fn new(chosen: Option<&'a Category>, root_name: &'a str) -> Self {
        Categories { chosen, root_name, whole: None, by_folder: HashMap::new() }
    }

    /// The category that a folder or a CSV names.
    fn named(&mut self, name: &str) -> Result<Category, SourceError> {
        if let Some(category) = self.by_folder.get(name) {
            return Ok(category.clone());
        }
        let category = checked(name)?;
        self.by_folder.insert(name.to_owned(), category.clone());
        Ok(category)
    }

    /// The category of pictures that the layout gives none.
    fn whole(&mut self) -> Result<Category, SourceError> {
        if let Some(category) = &self.whole {
            return Ok(category.clone());
        }
        let category = match self.chosen {
            Some(chosen) => chosen.clone(),
            None => checked(self.root_name)?,
        };
        Ok(self.whole.insert(category).clone())
    }

    /// The category of the folder `name`, or of the whole input where there is no folder.
    pub(super) fn of(&mut self, name: Option<&str>) -> Result<Category, SourceError> {
        match name {
            Some(name) => self.named(name),
            None => self.whole(),
        }
    }

    /// The user's name, if no picture needed it.
    pub(super) fn unused_choice(&self) -> Option<&Category> {
        self.chosen.filter(|_| self.whole.is_none())
    }
}

fn checked(name: &str) -> Result<Category, SourceError> {
    name.parse().map_err(|error: ValueError| SourceError::BadCategory {
        name: name.to_owned(),
        rule: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_products_are_categories_in_any_script() {
        for name in ["bottle", "metal_nut", "Türgriff links", "螺丝", ".."] {
            assert_eq!(name.parse::<Category>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn reserved_blank_long_and_unprintable_names_are_refused() {
        for name in ["", "  ", "__all__", "__mean__", "a\nb", &"x".repeat(201)] {
            assert!(name.parse::<Category>().is_err(), "{name:?}");
        }
        assert!("ä".repeat(200).parse::<Category>().is_ok());
    }
}

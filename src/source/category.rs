//! The name of a category: what one kind of product is called in prompts, folders and tables.
//! A name that a folder, a CSV or a flag gives goes in, a checked [`Category`] comes out.
//! Never here: how a name is shown or spoken to the network.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::error::{SourceError, ValueError};
use crate::tables::escape;

/// Names that the metrics table uses for rows over several categories.
const RESERVED: [&str; 2] = ["__all__", "__mean__"];

/// The longest name, in bytes as folder names of tables have it. Disks allow 255, and `category=`
/// stands before it, an ending behind it.
const MAX_BYTES: usize = 230;

/// A category name: 1 to 230 bytes where it is part of a folder's name, not blank, no control characters, not `__all__` or
/// `__mean__`. Cheap to clone: all images of a category share one text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Category(Arc<str>);

impl Category {
    /// Counts one more entry of it.
    pub fn count_in(&self, entries: &mut BTreeMap<Category, usize>) {
        // Of a million entries only the first of a category needs a name of its own.
        match entries.get_mut(self) {
            Some(count) => *count += 1,
            None => drop(entries.insert(self.clone(), 1)),
        }
    }

    /// The name as the input gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Category {
    type Err = ValueError;

    fn from_str(name: &str) -> Result<Self, ValueError> {
        let fits = !name.trim().is_empty()
            && escape(name).len() <= MAX_BYTES
            && !name.chars().any(char::is_control)
            && !RESERVED.contains(&name);
        if fits {
            return Ok(Category(name.into()));
        }
        Err(ValueError::new(format!(
            "1 to {MAX_BYTES} bytes (as UTF-8, with signs such as % and / as three), no control \
             characters, not {}",
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
            "type": "string", "minLength": 1, "maxLength": MAX_BYTES,
            "not": { "enum": RESERVED },
            "description": "The name of one kind of product."
        })
    }
}

/// Finds the category of each image while a layout is listed, and remembers what it found.
pub(super) struct Categories<'a> {
    chosen: Option<&'a Category>,
    root_name: &'a str,
    whole: Option<Category>,
    by_folder: HashMap<String, Category>,
}

impl<'a> Categories<'a> {
    /// `chosen` is the user's name for images without one, `root_name` stands in for it.
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

    /// The category of images that the layout gives none.
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

    /// The category of an image or archive in `folders`, a path below the input: that of a folder
    /// `category=<name>`, as Hive and Spark write it, else the first folder, else the whole input.
    /// Other `key=value` folders, such as dates, name no product.
    pub(super) fn of_folders(&mut self, folders: Option<&str>) -> Result<Category, SourceError> {
        let parts = || folders.into_iter().flat_map(|folders| folders.split('/'));
        let named = parts().find_map(|part| part.strip_prefix("category="));
        if let Some(value) = named {
            return self.named(&percent_decode_str(value).decode_utf8_lossy());
        }
        self.of(parts().find(|part| !is_partition(part)))
    }

    /// The category of the folder `name`, or of the whole input where there is no folder.
    pub(super) fn of(&mut self, name: Option<&str>) -> Result<Category, SourceError> {
        match name {
            Some(name) => self.named(name),
            None => self.whole(),
        }
    }

    /// The user's name, if no image needed it.
    pub(super) fn unused_choice(&self) -> Option<&Category> {
        self.chosen.filter(|_| self.whole.is_none())
    }
}

/// Whether a folder is of the form `key=value`.
fn is_partition(folder: &str) -> bool {
    let is_key = |key: &str| {
        let mut chars = key.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    folder.split_once('=').is_some_and(|(key, _)| is_key(key))
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
    fn folders_of_partitioned_tables_name_the_category_by_their_key() {
        let mut categories = Categories::new(None, "root");
        let mut of = |folders| categories.of_folders(folders).unwrap().to_string();
        assert_eq!(of(Some("category=bottle%2Fcap")), "bottle/cap");
        assert_eq!(of(Some("date=2026-01-01/category=nut/x")), "nut");
        assert_eq!(of(Some("date=2026-01-01/nut")), "nut");
        assert_eq!((of(Some("date=2026-01-01")), of(None)), ("root".into(), "root".into()));
        assert_eq!((of(Some("1=2/a")), of(Some("nut/category"))), ("1=2".into(), "nut".into()));
    }

    #[test]
    fn reserved_blank_long_and_unprintable_names_are_refused() {
        for name in [
            "",
            "  ",
            "__all__",
            "__mean__",
            "a\nb",
            &"x".repeat(231),
            &"螺".repeat(77),
            &"%".repeat(77),
        ] {
            assert!(name.parse::<Category>().is_err(), "{name:?}");
        }
        for name in ["x".repeat(230), "ä".repeat(115), "%".repeat(76)] {
            assert!(name.parse::<Category>().is_ok(), "{name}");
        }
    }
}

//! Labels and categories of strangers that are not understood: they cost no image, and are said once per
//! archive or table. What a set says of each image goes in, a warning comes out.

use super::Category;
use super::member::Known;

/// What was not understood so far.
#[derive(Debug, Default)]
pub struct Unclear {
    labels: usize,
    /// The first of these values.
    examples: Vec<String>,
    categories: usize,
}

impl Unclear {
    /// Counts what is said of one image.
    pub fn note(&mut self, known: &Known) {
        if let Some(value) = &known.unclear {
            self.labels += 1;
            if self.examples.len() < 3 && !self.examples.contains(value) {
                self.examples.push(value.clone());
            }
        }
        let category = known.category.as_deref();
        self.categories +=
            usize::from(category.is_some_and(|name| name.parse::<Category>().is_err()));
    }

    /// Warns, if there is something; `place` has said it, and images without a usable category count
    /// for `whose`: "the archive's".
    pub fn report(&self, place: &str, whose: &str) {
        let Unclear { labels, examples, categories } = self;
        if *labels > 0 {
            let values = examples.join(", ");
            tracing::warn!(
                place,
                images = labels,
                values,
                "labels that are not understood: these images are scored without a label"
            );
        }
        if *categories > 0 {
            tracing::warn!(
                place,
                images = categories,
                "categories that cannot be names: these images count for {whose}"
            );
        }
    }
}

//! Which descriptions ever win: the one most like an image, over all images of a run. In: a run,
//! and a file of descriptions. Out: per category and description how often, and how alike.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::TableError;
use crate::model::filo::descriptions::{CategoryPrompts, Descriptions};
use crate::tables::{RunReader, Table, TopScore};

/// How a description did on a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wins {
    pub category: String,
    /// The detail as the file has it; of a state that every category has, the state.
    pub description: String,
    /// Whether it is one of the file's, or of the states that every category has.
    pub generic: bool,
    /// Images on which it was the best.
    pub wins: u64,
    /// Of those: labelled as anomalous, and as normal.
    pub wins_anomalous: u64,
    pub wins_normal: u64,
    /// Share of the category's images.
    pub share: f64,
    /// Mean cosine where it won; none where it never did.
    pub mean_similarity: Option<f64>,
}

/// What the scores of a category say.
#[derive(Default)]
struct Count {
    wins: u64,
    anomalous: u64,
    normal: u64,
    similarity: f64,
}

/// Every description of the run's categories, in the order of the file, winners or not; then what the
/// run was scored with and the file does not have. Images of earlier versions, whose rows do not
/// tell, count for no description.
///
/// # Errors
/// If the run cannot be read.
pub fn wins(run: &RunReader, descriptions: &Descriptions) -> Result<Vec<Wins>, TableError> {
    let mut rows = Vec::new();
    for category in run.categories() {
        let mut counts = BTreeMap::<String, Count>::new();
        let mut pictures = 0u64;
        for part in run.parts(Table::Scores, category) {
            for score in run.rows_of::<TopScore>(part)? {
                let Some(state) = score.top_description else { continue };
                pictures += 1;
                let count = counts.entry(state).or_default();
                count.wins += 1;
                match score.label {
                    Some(true) => count.anomalous += 1,
                    Some(false) => count.normal += 1,
                    None => {}
                }
                count.similarity += f64::from(score.top_similarity.unwrap_or_default());
            }
        }
        let CategoryPrompts { abnormal, details, .. } = descriptions.prompts(category);
        let row = |description: String, generic: bool, count: Count| Wins {
            category: category.to_string(),
            description,
            generic,
            wins: count.wins,
            wins_anomalous: count.anomalous,
            wins_normal: count.normal,
            share: if pictures == 0 { 0.0 } else { count.wins as f64 / pictures as f64 },
            mean_similarity: (count.wins > 0).then(|| count.similarity / count.wins as f64),
        };
        for (i, state) in abnormal.into_iter().enumerate() {
            let count = counts.remove(&state).unwrap_or_default();
            let detail = details.get(i).cloned();
            rows.push(row(detail.clone().unwrap_or(state), detail.is_none(), count));
        }
        // The run had another file.
        rows.extend(counts.into_iter().map(|(state, count)| row(state, false, count)));
    }
    Ok(rows)
}

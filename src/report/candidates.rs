//! The rows of the table of flagged images. In: the scored images of each category, in any order. Out:
//! so many of each category, flagged ones before others, the highest scores first, and of all
//! categories those that a page has room for. Others are candidates: a lower threshold would flag them.

use super::picks::SeenScore;
use crate::tables::ShownScore;

/// Flagged images of a page, if they are so many.
const MOST_FLAGGED: usize = 2000;

/// Images of a page that a lower threshold would flag.
const MOST_OTHERS: usize = 600;

/// Those of one category.
const OTHERS: usize = 60;

/// How many rows a category may keep while it is read, where there are so many categories: those that
/// are shown in detail more than others.
pub fn most_of(n_categories: usize, is_detailed: bool) -> usize {
    match is_detailed {
        true => MOST_FLAGGED,
        false => (2 * MOST_FLAGGED / n_categories.max(1)).max(1),
    }
}

/// The images of a category that come first.
#[derive(Debug, Default)]
pub struct Candidates {
    most: usize,
    rows: Vec<SeenScore>,
}

/// Flagged before others, then by score; a name decides between equals.
fn order(a: &SeenScore, b: &SeenScore) -> std::cmp::Ordering {
    let (of, than) = (&a.row, &b.row);
    than.is_flagged()
        .cmp(&of.is_flagged())
        .then(than.score.total_cmp(&of.score))
        .then_with(|| of.image_id.cmp(&than.image_id))
        .then(a.run.cmp(&b.run))
}

impl Candidates {
    /// Keeps `row` of a run, as long as there are not `most` before it; `others`: whether images that are
    /// not flagged may be kept.
    pub fn add(&mut self, run: usize, row: &ShownScore, most: usize, others: bool) {
        self.most = most;
        if others || row.is_flagged() {
            self.rows.push(SeenScore { run, row: row.clone() });
            if self.rows.len() >= 2 * most.max(64) {
                self.cut();
            }
        }
    }

    /// Takes in what another part of the category has.
    pub fn merge(&mut self, other: Candidates) {
        self.most = self.most.max(other.most);
        self.rows.extend(other.rows);
        self.cut();
    }

    fn cut(&mut self) {
        if self.rows.len() > self.most {
            self.rows.select_nth_unstable_by(self.most, order);
            self.rows.truncate(self.most);
        }
    }

    /// The rows in order, with few that are not flagged.
    pub fn finish(mut self) -> Vec<SeenScore> {
        self.cut();
        self.rows.sort_unstable_by(order);
        let flagged = self.rows.iter().take_while(|seen| seen.row.is_flagged()).count();
        self.rows.truncate(flagged + OTHERS);
        self.rows
    }
}

/// Of the rows of all categories those that a page has room for: the first of each category, then the
/// second of each, and so on. Of each category the number of rows.
pub fn fair_shares(categories: &[&[SeenScore]]) -> Vec<usize> {
    let flagged = |rows: &&[SeenScore]| rows.iter().filter(|seen| seen.row.is_flagged()).count();
    let of_flagged = categories.iter().map(flagged).collect::<Vec<_>>();
    let of_others = categories.iter().zip(&of_flagged).map(|(rows, flagged)| rows.len() - flagged);
    let of_others = shared(&of_others.collect::<Vec<_>>(), MOST_OTHERS);
    let shares = shared(&of_flagged, MOST_FLAGGED).into_iter().zip(of_others).zip(of_flagged);
    // What is not flagged comes after all that is.
    shares.map(|((share, others), all)| if share == all { share + others } else { share }).collect()
}

/// Shares of `most` of what there is, as even as may be.
fn shared(there: &[usize], most: usize) -> Vec<usize> {
    let mut sorted = there.to_vec();
    sorted.sort_unstable();
    let (mut left, mut level) = (most, usize::MAX);
    for (i, n) in sorted.iter().enumerate() {
        let even = left / (sorted.len() - i);
        if *n > even {
            level = even;
            break;
        }
        left -= n;
    }
    let mut shares = there.iter().map(|n| (*n).min(level)).collect::<Vec<_>>();
    let mut left = most.saturating_sub(shares.iter().sum());
    for (share, n) in shares.iter_mut().zip(there) {
        let one_more = usize::from(left > 0 && *share < *n);
        *share += one_more;
        left -= one_more;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: usize, score: f32, flagged: bool) -> ShownScore {
        ShownScore {
            image_id: format!("{name:04}"),
            score,
            is_anomalous: Some(flagged),
            ..ShownScore::default()
        }
    }

    #[test]
    fn the_first_rows_are_kept_whatever_their_order() {
        let rows = (0..500).map(|i| row(i, (i * 7 % 500) as f32, i % 5 == 0)).collect::<Vec<_>>();
        let kept = |rows: &mut dyn Iterator<Item = &ShownScore>| {
            let (mut whole, mut part) = (Candidates::default(), Candidates::default());
            for (i, row) in rows.enumerate() {
                if i % 3 == 0 { &mut whole } else { &mut part }.add(0, row, 120, true);
            }
            whole.merge(part);
            whole.finish().into_iter().map(|seen| seen.row.image_id).collect::<Vec<_>>()
        };
        let forwards = kept(&mut rows.iter());
        assert_eq!(forwards, kept(&mut rows.iter().rev()));
        let mut expected = rows.clone();
        expected
            .sort_by(|a, b| b.is_flagged().cmp(&a.is_flagged()).then(b.score.total_cmp(&a.score)));
        let expected = expected.iter().take(120).map(|row| row.image_id.clone());
        assert_eq!(forwards, expected.collect::<Vec<_>>());
    }

    #[test]
    fn small_categories_are_whole_and_large_ones_share_the_rest() {
        assert_eq!(shared(&[3, 100, 50, 0], 63), [3, 30, 30, 0]);
        assert_eq!(shared(&[3, 4], 100), [3, 4]);
        assert_eq!(shared(&[5; 4], 3), [1, 1, 1, 0]);
        assert_eq!(shared(&[], 7), [0; 0]);
        let of = |flagged: usize, others: usize| {
            let rows = (0..flagged + others).map(|i| row(i, 0.0, i < flagged));
            rows.map(|row| SeenScore { run: 0, row }).collect::<Vec<_>>()
        };
        assert_eq!(fair_shares(&[&of(2, 3), &of(1, 0)]), [5, 1]);
        assert_eq!(fair_shares(&[&of(5000, 30), &of(1, 2)]), [MOST_FLAGGED - 1, 3]);
    }
}

//! Which images of a category the report shows. In: scored images, in any order. Out: a few of
//! them per gallery, the same whatever the order was.

use crate::tables::ShownScore;

/// A row of images of one category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GalleryKind {
    MostAnomalous,
    MostDoubtful,
    Missed,
    FalseAlarms,
}

impl GalleryKind {
    /// All kinds, in the order of this enum.
    pub const ALL: [GalleryKind; 4] = [
        GalleryKind::MostAnomalous,
        GalleryKind::MostDoubtful,
        GalleryKind::Missed,
        GalleryKind::FalseAlarms,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            GalleryKind::MostAnomalous => "Most anomalous",
            GalleryKind::MostDoubtful => "Most doubtful",
            GalleryKind::Missed => "Missed",
            GalleryKind::FalseAlarms => "False alarms",
        }
    }

    /// What an image must be to be here, and which comes first.
    pub fn about(self) -> &'static str {
        match self {
            GalleryKind::MostAnomalous => "highest score first",
            GalleryKind::MostDoubtful => "closest to the threshold first",
            GalleryKind::Missed => "anomalous but not flagged, lowest score first",
            GalleryKind::FalseAlarms => "normal but flagged, highest score first",
        }
    }

    /// Images with a higher rank come first; `None`: the image does not belong here.
    fn rank(self, row: &ShownScore) -> Option<f32> {
        match self {
            GalleryKind::MostAnomalous => Some(row.score),
            GalleryKind::MostDoubtful => {
                row.threshold.map(|threshold| -(row.score - threshold).abs())
            }
            GalleryKind::Missed => {
                (row.label == Some(true) && row.is_anomalous == Some(false)).then_some(-row.score)
            }
            GalleryKind::FalseAlarms => {
                (row.label == Some(false) && row.is_flagged()).then_some(row.score)
            }
        }
    }
}

/// A scored image, and which run of the set its row is of.
#[derive(Debug, Clone, Default)]
pub struct SeenScore {
    pub run: usize,
    pub row: ShownScore,
}

/// The first images of a gallery, and how many belong there.
#[derive(Debug, Clone)]
pub struct Picks {
    kind: GalleryKind,
    most: usize,
    /// Highest rank first; equal ranks by name.
    rows: Vec<SeenScore>,
    of: u64,
}

impl Picks {
    /// Room for `most` images.
    pub fn new(kind: GalleryKind, most: usize) -> Self {
        Picks { kind, most, rows: Vec::new(), of: 0 }
    }

    /// Which gallery it is.
    pub fn kind(&self) -> GalleryKind {
        self.kind
    }

    /// The images, the first one first.
    pub fn rows(&self) -> &[SeenScore] {
        &self.rows
    }

    /// How many images belong to the gallery, shown or not.
    pub fn of(&self) -> u64 {
        self.of
    }

    /// Takes `row` of a run in if it belongs here.
    pub fn add(&mut self, run: usize, row: &ShownScore) {
        if self.kind.rank(row).is_some() {
            self.of += 1;
            self.insert(run, row);
        }
    }

    /// Takes in what another part of the category has.
    pub fn merge(&mut self, other: Picks) {
        self.of += other.of;
        other.rows.iter().for_each(|seen| self.insert(seen.run, &seen.row));
    }

    fn insert(&mut self, run: usize, row: &ShownScore) {
        let kind = self.kind;
        let rank = |row: &ShownScore| kind.rank(row).unwrap_or(f32::NEG_INFINITY);
        let before = |other: &SeenScore| {
            let ranks = rank(&other.row).total_cmp(&rank(row)).reverse();
            let names = other.row.image_id.cmp(&row.image_id).then(other.run.cmp(&run));
            ranks.then(names) == std::cmp::Ordering::Less
        };
        let at = self.rows.partition_point(before);
        if at < self.most {
            self.rows.insert(at, SeenScore { run, row: row.clone() });
            self.rows.truncate(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(image_id: &str, score: f32, label: Option<bool>) -> ShownScore {
        ShownScore {
            image_id: image_id.into(),
            score,
            label,
            is_anomalous: Some(score > 0.5),
            threshold: Some(0.5),
            ..ShownScore::default()
        }
    }

    fn names(kind: GalleryKind, rows: &[ShownScore]) -> (Vec<&str>, u64) {
        let (mut whole, mut second) = (Picks::new(kind, 2), Picks::new(kind, 2));
        for (i, row) in rows.iter().enumerate() {
            if i % 2 == 0 { whole.add(0, row) } else { second.add(0, row) }
        }
        whole.merge(second);
        let shown = whole.rows.iter().map(|shown| {
            let row = rows.iter().find(|row| row.image_id == shown.row.image_id);
            row.map_or("", |row| row.image_id.as_str())
        });
        (shown.collect(), whole.of)
    }

    #[test]
    fn each_gallery_has_its_pictures_whatever_their_order() {
        let mut rows = vec![
            row("caught", 0.9, Some(true)),
            row("missed low", 0.1, Some(true)),
            row("missed", 0.45, Some(true)),
            row("alarm", 0.8, Some(false)),
            row("alarm too", 0.8, Some(false)),
            row("right", 0.2, Some(false)),
            row("unknown", 0.52, None),
        ];
        for _ in 0..2 {
            use GalleryKind::*;
            assert_eq!(names(MostAnomalous, &rows), (vec!["caught", "alarm"], 7));
            assert_eq!(names(MostDoubtful, &rows), (vec!["unknown", "missed"], 7));
            assert_eq!(names(Missed, &rows), (vec!["missed low", "missed"], 2));
            assert_eq!(names(FalseAlarms, &rows), (vec!["alarm", "alarm too"], 2));
            rows.reverse();
        }
    }
}

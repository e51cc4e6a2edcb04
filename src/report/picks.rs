//! Which images of a category the report shows. In: scored images, in any order. Out: a few of
//! them per gallery, the same whatever the order was. An image is in one gallery only.

use std::collections::BTreeSet;

use crate::tables::ShownScore;

/// A row of images of one category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GalleryKind {
    Missed,
    FalseAlarms,
    Found,
    Flagged,
    Closest,
    Lowest,
}

impl GalleryKind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [GalleryKind; 6] = [
        GalleryKind::Missed,
        GalleryKind::FalseAlarms,
        GalleryKind::Found,
        GalleryKind::Flagged,
        GalleryKind::Closest,
        GalleryKind::Lowest,
    ];

    /// What the page calls it where nobody reads.
    pub fn key(self) -> &'static str {
        match self {
            GalleryKind::Missed => "missed",
            GalleryKind::FalseAlarms => "false-alarms",
            GalleryKind::Found => "found",
            GalleryKind::Flagged => "flagged",
            GalleryKind::Closest => "closest",
            GalleryKind::Lowest => "lowest",
        }
    }

    /// The heading; `labelled`: whether any image of the category has a label.
    pub fn title(self, labelled: bool) -> &'static str {
        match (self, labelled) {
            (GalleryKind::Missed, _) => "Missed",
            (GalleryKind::FalseAlarms, _) => "False alarms",
            (GalleryKind::Found, _) => "Found",
            (GalleryKind::Flagged, false) => "Flagged",
            (GalleryKind::Flagged, true) => "Flagged, without a label",
            (GalleryKind::Closest, false) => "Not flagged, highest scores",
            (GalleryKind::Closest, true) => "Normal, highest scores",
            (GalleryKind::Lowest, false) => "Not flagged, to compare with",
            (GalleryKind::Lowest, true) => "Normal, to compare with",
        }
    }

    /// What an image must be to be here, and which comes first.
    pub fn about(self) -> &'static str {
        match self {
            GalleryKind::Missed => "anomalous but not flagged, lowest score first",
            GalleryKind::FalseAlarms => "normal but flagged, highest score first",
            GalleryKind::Found => "anomalous and flagged, highest score first",
            GalleryKind::Flagged => "highest score first",
            GalleryKind::Closest => "the next to be flagged if the threshold were lower",
            GalleryKind::Lowest => "lowest score first",
        }
    }

    /// Images with a higher rank come first; `None`: the image does not belong here.
    fn rank(self, row: &ShownScore) -> Option<f32> {
        let is_missed = row.label == Some(true) && row.is_anomalous == Some(false);
        let belongs = match self {
            GalleryKind::Missed => is_missed,
            GalleryKind::FalseAlarms => row.label == Some(false) && row.is_flagged(),
            GalleryKind::Found => row.label == Some(true) && row.is_flagged(),
            GalleryKind::Flagged => row.label.is_none() && row.is_flagged(),
            GalleryKind::Closest | GalleryKind::Lowest => !row.is_flagged() && !is_missed,
        };
        let lowest_first = matches!(self, GalleryKind::Missed | GalleryKind::Lowest);
        belongs.then_some(if lowest_first { -row.score } else { row.score })
    }

    /// How many of `most` images it shows: a few are enough to compare with.
    fn share(self, most: usize) -> usize {
        match self {
            GalleryKind::Lowest => most.div_ceil(2),
            _ => most,
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
    /// Of each kind up to `most` images.
    pub fn all(most: usize) -> Vec<Self> {
        let of =
            |kind: GalleryKind| Picks { kind, most: kind.share(most), rows: Vec::new(), of: 0 };
        GalleryKind::ALL.map(of).into()
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

/// Takes images out of a gallery that an earlier one has: in small categories the images with the
/// lowest scores are those closest to the threshold, too.
pub fn without_repeats(galleries: &mut [Picks]) {
    let mut shown = BTreeSet::new();
    for picks in galleries {
        picks.rows.retain(|seen| shown.insert((seen.run, seen.row.image_id.clone())));
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

    fn galleries(rows: &[ShownScore], most: usize) -> Vec<Picks> {
        let (mut whole, mut second) = (Picks::all(most), Picks::all(most));
        for (i, row) in rows.iter().enumerate() {
            let half = if i % 2 == 0 { &mut whole } else { &mut second };
            half.iter_mut().for_each(|picks| picks.add(0, row));
        }
        whole.iter_mut().zip(second).for_each(|(ours, theirs)| ours.merge(theirs));
        without_repeats(&mut whole);
        whole
    }

    fn names(galleries: &[Picks], kind: GalleryKind) -> (Vec<&str>, u64) {
        let picks = galleries.iter().find(|picks| picks.kind() == kind).unwrap();
        (picks.rows().iter().map(|seen| seen.row.image_id.as_str()).collect(), picks.of())
    }

    #[test]
    fn each_gallery_has_its_images_whatever_their_order() {
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
            let galleries = galleries(&rows, 2);
            assert_eq!(names(&galleries, Missed), (vec!["missed low", "missed"], 2));
            assert_eq!(names(&galleries, FalseAlarms), (vec!["alarm", "alarm too"], 2));
            assert_eq!(names(&galleries, Found), (vec!["caught"], 1));
            assert_eq!(names(&galleries, Flagged), (vec!["unknown"], 1));
            assert_eq!(names(&galleries, Closest), (vec!["right"], 1));
            assert_eq!(names(&galleries, Lowest), (vec![], 1), "it is shown already");
            rows.reverse();
        }
    }

    #[test]
    fn no_image_is_shown_twice_and_all_of_a_small_category_are_shown() {
        let rows = (0..6).map(|i| row(&i.to_string(), 0.1 * i as f32, None)).collect::<Vec<_>>();
        let galleries = galleries(&rows, 8);
        let mut shown = galleries.iter().flat_map(Picks::rows).map(|seen| &seen.row.image_id);
        let all = shown.by_ref().collect::<BTreeSet<_>>();
        assert_eq!(all.len(), 6);
        let n = galleries.iter().map(|picks| picks.rows().len()).sum::<usize>();
        assert_eq!(n, 6);
        let galleries = self::galleries(&rows, 2);
        assert_eq!(names(&galleries, GalleryKind::Closest).0, ["5", "4"]);
        assert_eq!(names(&galleries, GalleryKind::Lowest).0, ["0"]);
    }
}

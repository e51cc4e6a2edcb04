//! The prompts of an image in a step. In: the image, its category's states, the choice of the
//! job. Out: texts. What is drawn comes from the image's own source of chance.

use fastrand::Rng;

use super::data::{Anomalous, TrainingPicture};
use super::prompts::PicturePrompts;
use super::spec::PositionChoice;
use crate::model::filo::descriptions::{CategoryPrompts, texts_at, texts_of};
use crate::model::filo::position::Position;

/// What decides on the prompts of a step.
#[derive(Debug, Clone, Copy)]
pub struct PromptChoice {
    pub positions: PositionChoice,
    /// Share of images whose normal prompts name a position, and of those whose abnormal ones
    /// do not.
    pub loose_positions: f64,
    /// 0: all.
    pub details_per_step: usize,
    /// 0: all.
    pub normal_per_step: usize,
    /// 0: all.
    pub generic_per_step: usize,
    /// Share of images whose abnormal prompts have no details.
    pub generic_only: f64,
    pub n_ctx: usize,
}

impl PromptChoice {
    /// The prompts of `picture`; its own detail is always among those that are drawn.
    pub fn prompts(
        &self,
        picture: &TrainingPicture,
        states: &CategoryPrompts,
        rng: &mut Rng,
    ) -> PicturePrompts {
        let right = picture
            .detail
            .as_ref()
            .and_then(|detail| states.details.iter().position(|other| other == detail));
        let details = states.details.len();
        // Nothing is drawn for a share of 0: a job that leaves it out draws what it always drew.
        let kept = match self.generic_only > 0.0 && rng.f64() < self.generic_only {
            true => Vec::new(),
            false => drawn(details, self.details_per_step, right, rng),
        };
        let generic = drawn(states.abnormal.len() - details, self.generic_per_step, None, rng);
        let normal = drawn(states.normal.len(), self.normal_per_step, None, rng);
        let abnormal = kept.iter().copied().chain(generic.iter().map(|state| details + state));
        let normal = normal.iter().map(|&state| states.normal[state].clone()).collect::<Vec<_>>();
        let abnormal = abnormal.map(|state| states.abnormal[state].clone()).collect::<Vec<_>>();
        let mut loose = || rng.f64() < self.loose_positions;
        let (normal_placed, abnormal_bare) = (loose(), loose());
        let position = [place_of(picture, rng)];
        let normal = match normal_placed {
            true => texts_at(&normal, self.n_ctx, &position),
            false => texts_of(&normal, self.n_ctx),
        };
        let (abnormal, details) = match self.positions {
            PositionChoice::All => (texts_at(&abnormal, self.n_ctx, &Position::ALL), 0),
            PositionChoice::Known if !abnormal_bare => {
                (texts_at(&abnormal, self.n_ctx, &position), kept.len())
            }
            PositionChoice::Known | PositionChoice::None => {
                (texts_of(&abnormal, self.n_ctx), kept.len())
            }
        };
        let right = right.filter(|_| details > 0);
        PicturePrompts {
            normal,
            abnormal,
            details,
            right: right.and_then(|right| kept.iter().position(|&detail| detail == right)),
        }
    }
}

/// `count` of the numbers below `all`, or all if `count` is 0; `right` is among them.
fn drawn(all: usize, count: usize, right: Option<usize>, rng: &mut Rng) -> Vec<usize> {
    let mut numbers = (0..all).collect::<Vec<_>>();
    if count == 0 || count >= all {
        return numbers;
    }
    rng.shuffle(&mut numbers);
    if let Some(place) = right.and_then(|right| numbers.iter().position(|&n| n == right)) {
        numbers.swap(0, place);
    }
    numbers.truncate(count);
    numbers.sort_unstable();
    numbers
}

/// The ninth that holds the centre of the defect; a drawn one where there is none.
fn place_of(picture: &TrainingPicture, rng: &mut Rng) -> Position {
    let side = picture.mask.len().isqrt();
    let defect = picture.mask.iter().enumerate().filter(|(_, value)| **value > 0.0);
    let (mut x, mut y, mut n) = (0, 0, 0);
    for (pixel, _) in defect {
        (x, y, n) = (x + pixel % side, y + pixel / side, n + 1);
    }
    if n == 0 || picture.anomalous == Anomalous::No {
        return Position::ALL[rng.usize(..Position::ALL.len())];
    }
    let third = |sum: usize| (3 * sum / n / side).min(2);
    Position::ALL[3 * third(y) + third(x)]
}

/// Every text that [`PromptChoice::prompts`], or scoring, may make of `states`.
pub fn all_texts(states: &CategoryPrompts, n_ctx: usize) -> Vec<String> {
    let kinds = [&states.normal, &states.abnormal];
    let texts = kinds.into_iter().flat_map(|states| {
        let mut texts = texts_of(states, n_ctx);
        texts.extend(texts_at(states, n_ctx, &Position::ALL));
        texts
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::filo::descriptions::Descriptions;

    /// All states, abnormal ones at the place of the defect.
    const WHOLE: PromptChoice = PromptChoice {
        positions: PositionChoice::Known,
        loose_positions: 0.0,
        details_per_step: 0,
        normal_per_step: 0,
        generic_per_step: 0,
        generic_only: 0.0,
        n_ctx: 1,
    };

    fn picture() -> TrainingPicture {
        let mut mask = vec![0.0; 81];
        mask[8] = 1.0;
        TrainingPicture {
            planes: Vec::new(),
            mask,
            anomalous: Anomalous::Yes,
            category: "metal nut".to_string(),
            detail: Some("corrosion".to_string()),
        }
    }

    #[test]
    fn the_defect_of_the_picture_is_among_the_drawn_details() {
        let states = Descriptions::built_in().unwrap().prompts("metal nut");
        let choice =
            PromptChoice { details_per_step: 2, normal_per_step: 3, generic_per_step: 1, ..WHOLE };
        for seed in 0..20 {
            let prompts = choice.prompts(&picture(), &states, &mut Rng::with_seed(seed));
            let counts = (prompts.normal.len(), prompts.abnormal.len(), prompts.details);
            assert_eq!(counts, (3, 3, 2));
            let right = &prompts.abnormal[prompts.right.unwrap()];
            assert_eq!(right, "X abnormal metal nut with corrosion at top right.");
        }
    }

    #[test]
    fn a_picture_may_have_generic_words_only_and_then_none_to_find() {
        let states = Descriptions::built_in().unwrap().prompts("metal nut");
        let choice = PromptChoice { generic_only: 0.5, ..WHOLE };
        let (mut without, mut with) = (0, 0);
        for seed in 0..40 {
            let prompts = choice.prompts(&picture(), &states, &mut Rng::with_seed(seed));
            match prompts.right {
                None => {
                    assert_eq!((prompts.details, prompts.abnormal.len()), (0, 5));
                    without += 1;
                }
                Some(_) => with += 1,
            }
        }
        assert!(without > 10 && with > 10, "{without} without details, {with} with");
    }

    #[test]
    fn loose_positions_stand_with_either_kind_or_none() {
        let states = Descriptions::built_in().unwrap().prompts("metal nut");
        let choice = PromptChoice { loose_positions: 0.5, ..WHOLE };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let prompts = choice.prompts(&picture(), &states, &mut Rng::with_seed(seed));
            let placed = |text: &String| text.ends_with(" at top right.");
            seen.insert((placed(&prompts.normal[0]), placed(&prompts.abnormal[0])));
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn without_positions_a_prompt_ends_with_its_state() {
        let states = Descriptions::built_in().unwrap().prompts("metal nut");
        let choice = PromptChoice { positions: PositionChoice::None, ..WHOLE };
        let prompts = choice.prompts(&picture(), &states, &mut Rng::with_seed(1));
        assert_eq!(prompts.abnormal.last().unwrap(), "X metal nut with damage.");
        assert_eq!(prompts.details, states.details.len());
    }
}

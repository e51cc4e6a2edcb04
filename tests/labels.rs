//! What a label means does not depend on where it is written: the same words and numbers beside an
//! image of a tar, in a column of a Parquet file, in VisA's CSV and as a folder of MVTec's layout.
//! Values are drawn at random from a table that was written by hand, and written as people do: in
//! any case, between blanks, as text or as a number.

#[path = "labels/places.rs"]
mod places;
#[path = "labels/written.rs"]
mod written;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use places::{Said, Typed};
use written::{MEANING, Meaning, NUMBERS};

/// The same inputs on every machine and every day.
fn config(cases: u32, seed: u64) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// A label as somebody wrote it, and what it means.
#[derive(Debug, Clone)]
struct Written {
    text: String,
    meaning: Meaning,
}

/// A row of the table in another spelling: case and blanks around it say nothing.
fn any_text() -> impl Strategy<Value = Written> {
    let blanks = || prop::sample::select(vec!["", "", " ", "  ", "\t", "\u{a0}"]);
    let end = prop::sample::select(vec!["", "", "\n", "\r\n", " "]);
    (prop::sample::select(MEANING), 0..3, blanks(), end).prop_map(|(row, case, before, after)| {
        let (word, meaning) = row;
        let word = match case {
            0 => word.to_owned(),
            1 => word.to_uppercase(),
            _ => word.to_lowercase(),
        };
        Written { text: format!("{before}{word}{after}"), meaning }
    })
}

fn any_texts() -> impl Strategy<Value = Vec<Written>> {
    prop::collection::vec(any_text(), 1..24)
}

/// What an archive or a listing must say of `written`.
fn expected(written: &[Written], says: impl Fn(&Written) -> Said) -> Vec<Said> {
    written.iter().map(says).collect()
}

/// The words of a label are its defect type.
fn as_text(written: &Written) -> Said {
    (written.meaning.label(), written.meaning.defect_type(&written.text))
}

/// Where a set distinguishes types itself, what is not understood is one.
fn as_class(written: &Written) -> Said {
    match written.meaning {
        Meaning::Unclear => (Some(true), Some(written.text.trim().to_owned())),
        _ => as_text(written),
    }
}

proptest! {
    #![proptest_config(config(120, 1))]

    #[test]
    fn words_beside_the_images_of_a_tar(written in any_texts()) {
        let texts = written.iter().map(|one| one.text.as_str()).collect::<Vec<_>>();
        let wanted = expected(&written, as_text);
        prop_assert_eq!(&places::class_files(&texts), &wanted);
        prop_assert_eq!(&places::json_files(texts.iter().map(|text| serde_json::json!(text))), &wanted);
    }

    #[test]
    fn words_in_a_column_of_a_table(written in any_texts()) {
        let texts = written.iter().map(|one| one.text.as_str()).collect::<Vec<_>>();
        let wanted = expected(&written, as_text);
        for typed in [Typed::Text, Typed::LargeText, Typed::Bytes, Typed::Dictionary, Typed::List] {
            prop_assert_eq!(&places::column_of_words(&texts, typed), &wanted, "{:?}", typed);
        }
        // Names of which none says whether an image is normal are no labels.
        let are_labels = written.iter().any(|one| one.meaning.label().is_some());
        let says = if are_labels { as_class } else { as_text };
        prop_assert_eq!(&places::column_of_classes(&texts), &expected(&written, says));
    }

    #[test]
    fn words_in_tables_that_list_images(written in any_texts()) {
        let texts = written.iter().map(|one| one.text.as_str()).collect::<Vec<_>>();
        let wanted = expected(&written, as_text);
        for extension in ["csv", "jsonl", "parquet"] {
            prop_assert_eq!(&places::listed_rows(&texts, extension), &wanted, "{}", extension);
        }
    }

    #[test]
    fn words_in_the_tables_of_visa(written in any_texts()) {
        let texts = written.iter().map(|one| one.text.as_str()).collect::<Vec<_>>();
        let wanted = expected(&written, as_class);
        for delimiter in [',', ';', '\t'] {
            prop_assert_eq!(&places::annotations(&texts, delimiter), &wanted, "{:?}", delimiter);
            prop_assert_eq!(&places::split(&texts, delimiter), &wanted, "{:?}", delimiter);
        }
    }

    #[test]
    fn words_as_folders_of_mvtec(written in any_texts()) {
        // Names of folders, neither empty nor hidden, each once and in the order of paths.
        let names = written.iter().map(|one| (format!("{}/", one.text.trim()), one));
        let names = names.filter(|(name, _)| name.len() > 1 && !name.contains('.'));
        let names = names.filter(|(name, _)| name.matches('/').count() == 1);
        let names = names.collect::<std::collections::BTreeMap<_, _>>();
        let wanted = names.values().map(|one| (as_class(one).0, None)).collect::<Vec<_>>();
        let found = places::folders(&names.keys().map(String::as_str).collect::<Vec<_>>());
        let found = found.into_iter().map(|(label, _)| (label, None)).collect::<Vec<Said>>();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn numbers_and_truths_wherever_they_are(
        rows in prop::collection::vec(prop::sample::select(NUMBERS), 1..24),
    ) {
        let wanted = rows.iter().map(|(_, meaning)| (meaning.label(), None)).collect::<Vec<Said>>();
        let numbers = rows.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        let json = numbers.iter().map(|number| serde_json::json!(number));
        prop_assert_eq!(&places::json_files(json), &wanted);
        for typed in [Typed::Float32, Typed::Float64, Typed::Text, Typed::List] {
            prop_assert_eq!(&places::column_of_numbers(&numbers, typed), &wanted, "{:?}", typed);
        }
        // Of whole numbers those alone that such a column can have.
        let whole = rows.iter().filter(|(n, _)| n.fract() == 0.0 && (-1.0..100.0).contains(n));
        let wanted = whole.clone().map(|(_, m)| (m.label(), None)).collect::<Vec<Said>>();
        let whole = whole.map(|(number, _)| *number).collect::<Vec<_>>();
        for typed in [Typed::Int8, Typed::Int32, Typed::Int64] {
            prop_assert_eq!(&places::column_of_numbers(&whole, typed), &wanted, "{:?}", typed);
        }
        let truths = rows.iter().map(|(number, _)| *number == 1.0).collect::<Vec<_>>();
        let wanted = truths.iter().map(|truth| (Some(*truth), None)).collect::<Vec<Said>>();
        prop_assert_eq!(&places::column_of_truths(&truths), &wanted);
        prop_assert_eq!(&places::json_files(truths.iter().map(|truth| serde_json::json!(truth))), &wanted);
    }

    #[test]
    fn a_list_is_what_its_values_say_together(
        lists in prop::collection::vec(prop::collection::vec(any_text(), 0..5), 1..12),
    ) {
        let together = |list: &Vec<Written>| {
            let has = |wanted: fn(&Meaning) -> bool| list.iter().any(|one| wanted(&one.meaning));
            match () {
                _ if has(|one| matches!(one, Meaning::Unclear | Meaning::TakenBack)) => None,
                _ if has(|one| one.label() == Some(true)) => Some(true),
                _ if has(|one| one.label() == Some(false)) => Some(false),
                _ => None,
            }
        };
        let wanted = lists.iter().map(together).collect::<Vec<_>>();
        let texts = |list: &Vec<Written>| list.iter().map(|one| one.text.clone()).collect::<Vec<_>>();
        let json = places::json_files(lists.iter().map(|list| serde_json::json!(texts(list))));
        prop_assert_eq!(json.into_iter().map(|said| said.0).collect::<Vec<_>>(), wanted.clone());
        let column = places::column_of_lists(&lists.iter().map(texts).collect::<Vec<_>>());
        prop_assert_eq!(column.into_iter().map(|said| said.0).collect::<Vec<_>>(), wanted);
    }
}

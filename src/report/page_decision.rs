//! What decided which images are flagged, in words. In: rows of the table `thresholds`, the job, p-values.
//! Out: sentences.

use std::collections::BTreeMap;

use serde_json::Value;

use super::page::grouped;
use crate::reference::Origin;
use crate::tables::{Manifest, ThresholdRow};

/// Decimals of a share in percent, at most.
const DECIMALS: usize = 4;

/// The least p-value that is given as it is.
const LEAST_P: f64 = 1e-6;

/// A share in percent, without zeros at its end.
pub fn percent(share: f64) -> String {
    let text = format!("{:.DECIMALS$}", 100.0 * share);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The share of each category that the job has flagged: `the highest 5 %`.
fn highest(manifest: &Manifest) -> String {
    match manifest.spec["decision"]["flag_top"].as_f64() {
        Some(share) => format!("the highest {}", percent(share)),
        None => "the highest scores".to_string(),
    }
}

/// How the images of a category were decided on; `limits` are the lowest and the highest threshold of
/// its rows, `origin` is what its references are taken to be.
pub fn sentence(
    decided: Option<&ThresholdRow>,
    limits: Option<(f32, f32)>,
    origin: Option<Origin>,
    manifest: &Manifest,
) -> String {
    let above = match limits {
        Some((low, high)) if low == high => format!("images above {low:.3}"),
        Some((low, high)) => format!("images above their threshold, {low:.3} to {high:.3}"),
        None => "no images".to_string(),
    };
    let Some(row) = decided else { return format!("Flagged are {above}.") };
    let rate =
        row.false_alarm_rate.map_or("few".to_string(), |rate| format!("at most {}", percent(rate)));
    let rule = match row.rule.as_str() {
        "references" => {
            format!("flagged are {above}: {rate} of images like the references score as high")
        }
        "run" => format!(
            "flagged by the scores of this run: {above}, where {rate} of images like most of them \
             would score"
        ),
        "top_share" => format!("flagged are {}: {above}", highest(manifest)),
        "fixed" => format!("flagged are {above}, as --threshold says"),
        "earlier_run" => format!("flagged are {above}, by the thresholds of an earlier run"),
        "none" => "too few images to decide: nothing is flagged".to_string(),
        _ => format!("flagged are {above}"),
    };
    let n = grouped(row.n_references.max(0).unsigned_abs());
    let references = match (row.n_references, origin) {
        (..=0, _) => String::new(),
        (_, Some(Origin::Archive)) => format!("{n} images of the archive are references; "),
        (_, Some(Origin::Normal)) => format!("{n} known-good images are references; "),
        (_, None) => format!("{n} images are references; "),
    };
    format!("{}.", capitalised(&format!("{references}{rule}")))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

/// What the thresholds of all categories mean, one sentence for each rule, the most frequent first.
pub fn notes(thresholds: &BTreeMap<String, ThresholdRow>, manifest: &Manifest) -> Vec<String> {
    let mut rules = BTreeMap::<String, usize>::new();
    for row in thresholds.values() {
        *rules.entry(note(row, manifest)).or_default() += 1;
    }
    let mut rules = rules.into_iter().collect::<Vec<_>>();
    rules.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let several = rules.len() > 1;
    let told = rules.into_iter().map(|(text, n)| match (several, n) {
        (false, _) => text,
        (true, 1) => format!("1 category: {text}"),
        (true, n) => format!("{} categories: {text}", grouped(n as u64)),
    });
    told.collect()
}

fn note(row: &ThresholdRow, manifest: &Manifest) -> String {
    let rate =
        row.false_alarm_rate.map_or("Few".to_string(), |rate| format!("At most {}", percent(rate)));
    match row.rule.as_str() {
        "references" => format!("{rate} of images like the references score above the threshold."),
        "run" => format!(
            "The threshold is from the scores of this run: {} of images like most of a category \
             score above it.",
            rate.to_lowercase()
        ),
        "top_share" => format!("Flagged are {} of each category.", highest(manifest)),
        "fixed" => match row.threshold {
            Some(threshold) => format!("The threshold is {threshold:.3}: --threshold."),
            None => "The threshold is that of --threshold.".to_string(),
        },
        "earlier_run" => "Thresholds of an earlier run over labelled images.".to_string(),
        "none" => "Too few images to decide: nothing is flagged.".to_string(),
        rule => format!("Rule of the threshold: {rule}."),
    }
}

/// The rule of a job as it stands in a manifest, in words.
pub fn decision(value: &Value) -> String {
    let share = |key: &str| value[key].as_f64().map(percent);
    if let Some(rate) = share("false_alarm_rate") {
        return format!("false-alarm rate {rate}");
    }
    if let Some(top) = share("flag_top") {
        return format!("the highest {top} are flagged");
    }
    match value["threshold"].as_f64() {
        // Its digits are those of an f32.
        Some(threshold) => format!("threshold {}", threshold as f32),
        None => "thresholds of an earlier run".to_string(),
    }
}

/// A p-value in digits.
pub fn p_digits(p: f32) -> String {
    let p = f64::from(p);
    if p < LEAST_P {
        return format!("p < {LEAST_P:.6}");
    }
    // Two digits that say something, three decimals at least.
    let decimals = (1.0 - p.log10().floor()).clamp(3.0, 7.0) as usize;
    let text = format!("{p:.decimals$}");
    let zeros = text.len() - text.trim_end_matches('0').len();
    format!("p = {}", &text[..text.len() - zeros.min(decimals - 3)])
}

/// A p-value in words: `3 in 1,000 images like the references score as high`.
pub fn p_words(p: f32) -> String {
    let p = f64::from(p);
    if p < LEAST_P {
        return "fewer than 1 in 1,000,000 images like the references score as high".to_string();
    }
    let mut of = 1000.0;
    // A little less than one is one: 0.0001 as an f32 is below 0.0001.
    while p * of < 0.95 {
        of *= 10.0;
    }
    let n = (p * of).round() as u64;
    let score = if n == 1 { "scores" } else { "score" };
    format!("{} in {} images like the references {score} as high", grouped(n), grouped(of as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(rule: &str, rate: Option<f64>, n_references: i64) -> ThresholdRow {
        ThresholdRow {
            rule: rule.into(),
            threshold: Some(0.742),
            false_alarm_rate: rate,
            n_references,
            ..ThresholdRow::default()
        }
    }

    fn manifest(decision: Value) -> Manifest {
        let manifest = json!({
            "format": 2, "run_id": "0", "run_date": "2026-11-25",
            "spec": { "decision": decision }, "totals": null,
        });
        serde_json::from_value(manifest).unwrap()
    }

    #[test]
    fn each_rule_has_its_sentence() {
        let manifest = manifest(json!({ "flag_top": 0.05 }));
        let limits = Some((0.742, 0.742));
        let said =
            |rule, rate, n, origin| sentence(Some(&row(rule, rate, n)), limits, origin, &manifest);
        assert_eq!(
            said("references", Some(0.01), 128, Some(Origin::Archive)),
            "128 images of the archive are references; flagged are images above 0.742: at most 1 % \
             of images like the references score as high."
        );
        assert!(
            said("top_share", None, 0, None).starts_with("Flagged are the highest 5 %: images")
        );
        assert!(said("run", Some(0.005), 0, None).contains("at most 0.5 %"));
        assert!(
            said("fixed", None, 16, Some(Origin::Normal)).starts_with("16 known-good images are")
        );
        assert!(said("none", None, 0, None).starts_with("Too few images to decide"));
        assert_eq!(sentence(None, None, None, &manifest), "Flagged are no images.");
    }

    #[test]
    fn notes_say_how_many_categories_have_a_rule_if_there_are_several() {
        let manifest = manifest(json!({ "false_alarm_rate": 0.01 }));
        let of = |name: &str, row| (name.to_string(), row);
        let one = [of("a", row("references", Some(0.01), 20))];
        let all = "At most 1 % of images like the references score above the threshold.";
        assert_eq!(notes(&one.clone().into(), &manifest), [all]);
        let [first] = one;
        let more = [first, of("b", row("none", None, 0)), of("c", row("none", None, 0))];
        let notes = notes(&more.into(), &manifest);
        assert_eq!(notes[1], format!("1 category: {all}"));
        assert!(notes[0].starts_with("2 categories: Too few"), "{notes:?}");
        assert_eq!(decision(&manifest.spec["decision"]), "false-alarm rate 1 %");
        assert_eq!(decision(&json!({ "threshold": 0.7f32 })), "threshold 0.7");
    }

    #[test]
    fn small_p_values_are_no_zeros() {
        let digits = [1.0, 0.5, 0.0123, 0.003, 0.00034, 1e-9].map(p_digits);
        let expected = ["1.000", "0.500", "0.012", "0.003", "0.00034"].map(|p| format!("p = {p}"));
        assert_eq!(digits[..5], expected);
        assert_eq!(digits[5], "p < 0.000001");
        assert!(p_words(0.003).starts_with("3 in 1,000 images like the references score as"));
        assert!(p_words(0.0001).starts_with("1 in 10,000 images like the references scores as"));
        assert!(p_words(1e-9).starts_with("fewer than 1 in 1,000,000 "));
    }
}

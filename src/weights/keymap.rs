//! Names in checkpoints → names of our parameters. One rule per line, from the layout of the
//! published files; what no rule knows comes back as unexpected.

use std::sync::LazyLock;

use regex::Regex;

use crate::model::grounding::keys::{RENAMES, is_unused};

/// What a name in a checkpoint stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The parameter at this path of the network.
    Parameter(String),
    /// The same numbers stand under another name, or are never used: left out on purpose.
    Alias,
    /// No rule knows it.
    Unknown,
}

/// Prefixes whose tensors repeat others: the prompt side's copy of the text tower, and the last
/// rewritten attention of the image tower, which is block 6's. `logit_scale` is in every CLIP file
/// and FiLo never reads it.
const ALIASES: [&str; 3] = ["text_encoder.", "clip_model.visual.attn.", "clip_model.logit_scale"];

/// Parts that keep their name.
const UNCHANGED: [&str; 4] =
    ["decoder_linear.", "decoder_cov.", "normal_prompt_learner.", "abnormal_prompt_learner."];

/// Substitutions inside the towers. Ordinary blocks store `in_proj_weight`, blocks that ran dual
/// once store the same numbers as `qkv.weight`: both layouts are read.
const TOWER_PARTS: [(&str, &str); 4] = [
    ("transformer.resblocks.", "blocks."),
    (".attn.in_proj_", ".attn.in_proj."),
    (".attn.qkv.", ".attn.in_proj."),
    (".attn.proj.", ".attn.out_proj."),
];

/// The parameter of [`Filo`](crate::model::filo::Filo) that `name` of a FiLo checkpoint fills.
pub fn filo_key(name: &str) -> Key {
    if ALIASES.iter().any(|prefix| name.starts_with(prefix)) {
        return Key::Alias;
    }
    if UNCHANGED.iter().any(|prefix| name.starts_with(prefix)) {
        return Key::Parameter(name.to_string());
    }
    match name {
        "adapter.fc.0.weight" => return Key::Parameter("adapter.down.weight".to_string()),
        "adapter.fc.2.weight" => return Key::Parameter("adapter.up.weight".to_string()),
        _ => {}
    }
    let (tower, rest) = if let Some(rest) = name.strip_prefix("clip_model.visual.") {
        ("image_encoder", rest)
    } else if let Some(rest) = name.strip_prefix("clip_model.") {
        ("text_encoder", rest)
    } else {
        return Key::Unknown;
    };
    let part = TOWER_PARTS.iter().fold(rest.to_string(), |part, (from, to)| part.replace(from, to));
    Key::Parameter(norm_names(&format!("{tower}.{part}")))
}

/// The name in a FiLo checkpoint of the parameter at `path`, norms already with `weight` and
/// `bias`: the inverse of [`filo_key`].
pub fn checkpoint_name(path: &str) -> String {
    match path {
        "adapter.down.weight" => return "adapter.fc.0.weight".to_string(),
        "adapter.up.weight" => return "adapter.fc.2.weight".to_string(),
        _ => {}
    }
    let (prefix, rest) = if let Some(rest) = path.strip_prefix("image_encoder.") {
        ("clip_model.visual.", rest)
    } else if let Some(rest) = path.strip_prefix("text_encoder.") {
        ("clip_model.", rest)
    } else {
        return path.to_string();
    };
    let rest = match rest.strip_prefix("blocks.") {
        Some(block) => format!("transformer.resblocks.{block}"),
        None => rest.to_string(),
    };
    format!("{prefix}{}", rest.replace(".attn.in_proj.", ".attn.in_proj_"))
}

/// burn calls weight and bias of a norm `gamma` and `beta`.
fn norm_names(path: &str) -> String {
    let is_norm = |module: &str| {
        module.contains(".stem.norms.")
            || module.rsplit('.').next().is_some_and(|m| m.starts_with("ln_"))
    };
    match path.rsplit_once('.') {
        Some((module, "weight")) if is_norm(module) => format!("{module}.gamma"),
        Some((module, "bias")) if is_norm(module) => format!("{module}.beta"),
        _ => path.to_string(),
    }
}

/// The parameter of [`GroundingDino`](crate::model::grounding::GroundingDino) that `name` of a
/// detector's checkpoint fills.
pub fn grounding_key(name: &str) -> Key {
    if is_unused(name) {
        return Key::Alias;
    }
    let path = RULES
        .iter()
        .fold(name.to_string(), |name, (from, to)| from.replace_all(&name, *to).into_owned());
    Key::Parameter(path)
}

static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let rule = |(from, to)| Some((Regex::new(from).ok()?, to));
    RENAMES.into_iter().filter_map(rule).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_an_attention_projection_lead_to_one_parameter() {
        let expected = Key::Parameter("image_encoder.blocks.7.attn.in_proj.weight".into());
        let dual = "clip_model.visual.transformer.resblocks.7.attn.qkv.weight";
        let plain = "clip_model.visual.transformer.resblocks.7.attn.in_proj_weight";
        assert_eq!(filo_key(dual), expected);
        assert_eq!(filo_key(plain), expected);
    }

    #[test]
    fn a_written_name_leads_back_to_its_parameter() {
        for path in [
            "image_encoder.blocks.7.attn.in_proj.weight",
            "image_encoder.stem.convs.1.bias",
            "text_encoder.blocks.0.attn.out_proj.bias",
            "text_encoder.token_embedding.weight",
            "adapter.up.weight",
            "decoder_cov.fc_15.0.bias",
        ] {
            assert_eq!(filo_key(&checkpoint_name(path)), Key::Parameter(path.to_string()));
        }
        let norm = checkpoint_name("image_encoder.stem.norms.0.weight");
        let gamma = "image_encoder.stem.norms.0.gamma".to_string();
        assert_eq!(filo_key(&norm), Key::Parameter(gamma));
    }

    #[test]
    fn aliases_are_left_out_and_strangers_are_named() {
        assert_eq!(filo_key("text_encoder.ln_final.weight"), Key::Alias);
        assert_eq!(filo_key("clip_model.visual.attn.qkv.bias"), Key::Alias);
        assert_eq!(filo_key("head.weight"), Key::Unknown);
    }

    #[test]
    fn every_rule_of_the_detector_compiles() {
        assert_eq!(RULES.len(), RENAMES.len());
        let expected = Key::Parameter("bert.layers.4.attention.query.weight".into());
        assert_eq!(grounding_key("bert.encoder.layer.4.attention.self.query.weight"), expected);
    }
}

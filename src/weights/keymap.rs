//! Names in checkpoints → names of our parameters. One rule per line, from the layouts of the
//! published files; what no rule knows comes back as unexpected.

use std::sync::LazyLock;

use regex::Regex;

use super::transformers::transformers_key;
use crate::model::grounding::keys::{RENAMES, is_unused};

/// What a name in a checkpoint stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The parameter at this path of the network, or a part of it.
    Parameter { path: String, part: Part },
    /// The same numbers stand under another name, or are never used: left out on purpose.
    Alias,
    /// No rule knows it.
    Unknown,
}

/// Which part of a parameter a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// A matrix stored the other way round than the published files store it.
    Transposed,
    /// Rows of query (0), key (1) or value (2) of an attention whose three are stored as one.
    Third(usize),
}

/// What a checkpoint holds, by the names in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// FiLo, with or without the CLIP it was trained on.
    Filo,
    /// CLIP under OpenAI's names: its own archive, and open_clip's files.
    OpenAiClip,
    /// CLIP under the names of `transformers`.
    TransformersClip,
    /// Grounding DINO under the names of its public file.
    GroundingDino,
}

impl Kind {
    /// What a file with these tensors is, if it is any of what we read.
    pub fn of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<Kind> {
        let any = |test: fn(&str) -> bool| names.clone().any(test);
        if any(|name| name.starts_with("decoder_cov.") || name.starts_with("decoder_linear.")) {
            Some(Kind::Filo)
        } else if any(|name| without_wrapper(name) == "visual.conv1.weight") {
            Some(Kind::OpenAiClip)
        } else if any(|name| name == "vision_model.embeddings.patch_embedding.weight") {
            Some(Kind::TransformersClip)
        } else if any(|name| without_wrapper(name) == "transformer.level_embed") {
            Some(Kind::GroundingDino)
        } else {
            None
        }
    }

    /// For tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Filo => "FiLo",
            Kind::OpenAiClip => "CLIP (OpenAI's names)",
            Kind::TransformersClip => "CLIP (transformers' names)",
            Kind::GroundingDino => "Grounding DINO",
        }
    }

    /// What `name` of such a checkpoint stands for.
    pub fn key(self, name: &str) -> Key {
        match self {
            Kind::Filo => filo_key(name),
            Kind::OpenAiClip => openai_clip_key(name),
            Kind::TransformersClip => transformers_key(name),
            Kind::GroundingDino => grounding_key(name),
        }
    }
}

/// Data-parallel training puts this in front of every name.
fn without_wrapper(name: &str) -> &str {
    name.strip_prefix("module.").unwrap_or(name)
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

/// Numbers about the network in OpenAI's archive, which a configuration says as well.
const OPENAI_SCALARS: [&str; 4] =
    ["logit_scale", "input_resolution", "context_length", "vocab_size"];

fn whole(path: impl Into<String>) -> Key {
    Key::Parameter { path: path.into(), part: Part::Whole }
}

/// The parameter of [`Filo`](crate::model::filo::Filo) that `name` of a FiLo checkpoint fills.
fn filo_key(name: &str) -> Key {
    if ALIASES.iter().any(|prefix| name.starts_with(prefix)) {
        return Key::Alias;
    }
    if UNCHANGED.iter().any(|prefix| name.starts_with(prefix)) {
        return whole(name);
    }
    match name {
        "adapter.fc.0.weight" => return whole("adapter.down.weight"),
        "adapter.fc.2.weight" => return whole("adapter.up.weight"),
        _ => {}
    }
    name.strip_prefix("clip_model.").map_or(Key::Unknown, clip_key)
}

/// The parameter that `name` of OpenAI's archive, or of open_clip's files, fills.
fn openai_clip_key(name: &str) -> Key {
    let name = without_wrapper(name);
    // open_clip puts the text tower below `text.` where it is a module of its own.
    let name = name.strip_prefix("text.").unwrap_or(name);
    if OPENAI_SCALARS.contains(&name) || name == "attn_mask" { Key::Alias } else { clip_key(name) }
}

/// The parameter of a tower that `name` of CLIP fills.
fn clip_key(name: &str) -> Key {
    const TEXT: [&str; 5] = [
        "transformer.",
        "token_embedding.",
        "positional_embedding",
        "ln_final.",
        "text_projection",
    ];
    let (tower, rest) = match name.strip_prefix("visual.") {
        Some(rest) => ("image_encoder", rest),
        None if TEXT.iter().any(|prefix| name.starts_with(prefix)) => ("text_encoder", name),
        None => return Key::Unknown,
    };
    let part = TOWER_PARTS.iter().fold(rest.to_string(), |part, (from, to)| part.replace(from, to));
    whole(norm_names(&format!("{tower}.{part}")))
}

/// The name in a FiLo checkpoint of the parameter at `path`, norms already with `weight` and
/// `bias`: the inverse of [`Kind::key`].
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
pub fn norm_names(path: &str) -> String {
    let is_norm = |module: &str| module.rsplit('.').next().is_some_and(|m| m.starts_with("ln_"));
    match path.rsplit_once('.') {
        Some((module, "weight")) if is_norm(module) => format!("{module}.gamma"),
        Some((module, "bias")) if is_norm(module) => format!("{module}.beta"),
        _ => path.to_string(),
    }
}

/// The parameter of [`GroundingDino`](crate::model::grounding::GroundingDino) that `name` of a
/// detector's checkpoint fills.
fn grounding_key(name: &str) -> Key {
    if is_unused(name) {
        return Key::Alias;
    }
    let path = RULES
        .iter()
        .fold(name.to_string(), |name, (from, to)| from.replace_all(&name, *to).into_owned());
    whole(path)
}

static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let rule = |(from, to)| Some((Regex::new(from).ok()?, to));
    RENAMES.into_iter().filter_map(rule).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_an_attention_projection_lead_to_one_parameter() {
        let expected = whole("image_encoder.blocks.7.attn.in_proj.weight");
        let dual = "clip_model.visual.transformer.resblocks.7.attn.qkv.weight";
        let plain = "clip_model.visual.transformer.resblocks.7.attn.in_proj_weight";
        let openai = "visual.transformer.resblocks.7.attn.in_proj_weight";
        assert_eq!(Kind::Filo.key(dual), expected);
        assert_eq!(Kind::Filo.key(plain), expected);
        assert_eq!(Kind::OpenAiClip.key(openai), expected);
    }

    #[test]
    fn a_written_name_leads_back_to_its_parameter() {
        for path in [
            "image_encoder.blocks.7.attn.in_proj.weight",
            "image_encoder.stem.convs.1.weight",
            "image_encoder.stem.norms.0.gamma",
            "text_encoder.blocks.0.attn.out_proj.bias",
            "text_encoder.token_embedding.weight",
            "adapter.up.weight",
            "decoder_cov.fc_15.0.bias",
        ] {
            assert_eq!(filo_key(&checkpoint_name(path)), whole(path));
        }
    }

    #[test]
    fn aliases_are_left_out_and_strangers_are_named() {
        assert_eq!(Kind::Filo.key("text_encoder.ln_final.weight"), Key::Alias);
        assert_eq!(Kind::Filo.key("clip_model.visual.attn.qkv.bias"), Key::Alias);
        assert_eq!(Kind::Filo.key("head.weight"), Key::Unknown);
        assert_eq!(Kind::OpenAiClip.key("input_resolution"), Key::Alias);
        assert_eq!(Kind::OpenAiClip.key("decoder.weight"), Key::Unknown);
    }

    #[test]
    fn every_rule_of_the_detector_compiles() {
        assert_eq!(RULES.len(), RENAMES.len());
        let expected = whole("bert.layers.4.attention.query.weight");
        let name = "bert.encoder.layer.4.attention.self.query.weight";
        assert_eq!(Kind::GroundingDino.key(name), expected);
    }

    #[test]
    fn a_file_is_what_its_names_say() {
        let of = |names: &[&'static str]| Kind::of(names.iter().copied());
        assert_eq!(of(&["visual.conv1.weight", "decoder_linear.fc.0.bias"]), Some(Kind::Filo));
        assert_eq!(of(&["module.visual.conv1.weight"]), Some(Kind::OpenAiClip));
        assert_eq!(of(&["module.transformer.level_embed"]), Some(Kind::GroundingDino));
        assert_eq!(of(&["conv1.weight"]), None);
    }
}

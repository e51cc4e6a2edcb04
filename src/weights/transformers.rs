//! CLIP under the names that `transformers` gives it. Query, key and value are stored apart there,
//! and both projections the other way round.

use super::keymap::{Key, Part, norm_names};

/// Substitutions inside a block.
const BLOCK_PARTS: [(&str, &str); 5] = [
    (".self_attn.out_proj.", ".attn.out_proj."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
];

/// Names outside of the blocks.
const SINGLES: [(&str, &str); 11] = [
    ("vision_model.embeddings.patch_embedding.weight", "image_encoder.conv1.weight"),
    ("vision_model.embeddings.class_embedding", "image_encoder.class_embedding"),
    ("vision_model.embeddings.position_embedding.weight", "image_encoder.positional_embedding"),
    // The misspelling is theirs.
    ("vision_model.pre_layrnorm.weight", "image_encoder.ln_pre.gamma"),
    ("vision_model.pre_layrnorm.bias", "image_encoder.ln_pre.beta"),
    ("vision_model.post_layernorm.weight", "image_encoder.ln_post.gamma"),
    ("vision_model.post_layernorm.bias", "image_encoder.ln_post.beta"),
    ("text_model.embeddings.token_embedding.weight", "text_encoder.token_embedding.weight"),
    ("text_model.embeddings.position_embedding.weight", "text_encoder.positional_embedding"),
    ("text_model.final_layer_norm.weight", "text_encoder.ln_final.gamma"),
    ("text_model.final_layer_norm.bias", "text_encoder.ln_final.beta"),
];

/// The parameter that `name` of a CLIP of `transformers` fills.
pub fn transformers_key(name: &str) -> Key {
    let key = |path: String, part| Key::Parameter { path, part };
    if name == "logit_scale" || name.ends_with(".position_ids") {
        return Key::Alias;
    }
    if name == "visual_projection.weight" {
        return key("image_encoder.proj".to_string(), Part::Transposed);
    }
    if name == "text_projection.weight" {
        return key("text_encoder.text_projection".to_string(), Part::Transposed);
    }
    if let Some((_, path)) = SINGLES.iter().find(|(theirs, _)| *theirs == name) {
        return key((*path).to_string(), Part::Whole);
    }
    let (tower, rest) = if let Some(rest) = name.strip_prefix("vision_model.encoder.layers.") {
        ("image_encoder", rest)
    } else if let Some(rest) = name.strip_prefix("text_model.encoder.layers.") {
        ("text_encoder", rest)
    } else {
        return Key::Unknown;
    };
    let block = format!("{tower}.blocks.{rest}");
    let thirds = [".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."];
    for (third, theirs) in thirds.into_iter().enumerate() {
        if block.contains(theirs) {
            return key(block.replace(theirs, ".attn.in_proj."), Part::Third(third));
        }
    }
    let path = BLOCK_PARTS.iter().fold(block, |path, (from, to)| path.replace(from, to));
    key(norm_names(&path), Part::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_block_lead_to_the_joined_projection_and_our_norms() {
        let value = transformers_key("text_model.encoder.layers.3.self_attn.v_proj.bias");
        let path = "text_encoder.blocks.3.attn.in_proj.bias".to_string();
        assert_eq!(value, Key::Parameter { path, part: Part::Third(2) });
        let norm = transformers_key("vision_model.encoder.layers.11.layer_norm2.weight");
        let path = "image_encoder.blocks.11.ln_2.gamma".to_string();
        assert_eq!(norm, Key::Parameter { path, part: Part::Whole });
        assert_eq!(transformers_key("text_model.embeddings.position_ids"), Key::Alias);
        assert_eq!(transformers_key("classifier.weight"), Key::Unknown);
    }
}

//! CLIP: image tower with V-V attention, text tower, tokenizer.

pub mod clean_text;
pub mod stem;
pub mod text;
pub mod tokenizer;
pub mod vision;

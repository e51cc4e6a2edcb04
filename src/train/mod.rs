//! Training: losses, the recipe's stages, the loop with its checkpoints, and data made by the
//! program itself.

pub mod losses;
pub mod map_loss;
pub mod network;
pub mod objective;
pub mod optimizer;
pub mod parts;
pub mod prompts;
pub mod synthetic;

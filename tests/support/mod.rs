//! What several tests share.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod chat;
pub mod fake_hub;
pub mod fake_s3;
pub mod golden;
pub mod pillow;
pub mod run;
pub mod s3;

//! Data made by the program itself.

pub mod synthetic;

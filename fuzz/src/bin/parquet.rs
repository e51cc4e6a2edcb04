//! Any bytes as a Parquet file: every image read with what is known of it.

#![no_main]

use filo::source::ArchiveKind;
use filo_fuzz::{archive, fuzz_target};

fuzz_target!(|bytes: &[u8]| archive::read(bytes, ArchiveKind::Parquet));

//! Parse, dispatch, map errors to exit codes. Nothing else.

use std::process::ExitCode;

use clap::Parser;
use filo::cli::{Cli, tell};
use filo::device::keep_freed;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_freed();
    let cli = Cli::parse();
    let verbose = cli.verbose;
    match cli.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell(format_args!("filo: {error}"));
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause.filter(|_| verbose) {
                tell(format_args!("  because: {error}"));
                cause = error.source();
            }
            ExitCode::from(error.exit_code())
        }
    }
}

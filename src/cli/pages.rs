//! What the program says about itself: completions, manual page, devices.

use std::io;
use std::path::Path;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::device;
use crate::error::Error;

#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    shell: Shell,
}

impl CompletionsArgs {
    pub fn run(self) -> Result<u8, Error> {
        clap_complete::generate(self.shell, &mut Cli::command(), "filo", &mut io::stdout());
        Ok(0)
    }
}

/// `filo man`.
pub fn man() -> Result<u8, Error> {
    let unwritable = |error: io::Error| Error::Unwritable {
        path: Path::new("stdout").into(),
        why: error.to_string(),
    };
    clap_mangen::Man::new(Cli::command()).render(&mut io::stdout()).map_err(unwritable)?;
    Ok(0)
}

/// `filo devices`.
pub fn devices() -> Result<u8, Error> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    println!("{}  {cores} cores · f32 · chosen by auto", device::CPU_NAME);
    println!("cuda, wgpu  not in this build");
    Ok(0)
}

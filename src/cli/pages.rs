//! What the program says about itself: completions, manual page, devices.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::say::say;
use crate::device;
use crate::error::Error;

#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    shell: Shell,
}

impl CompletionsArgs {
    pub fn run(self) -> Result<u8, Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "filo", &mut script);
        say(String::from_utf8_lossy(&script).trim_end())?;
        Ok(0)
    }
}

/// `filo man`.
pub fn man() -> Result<u8, Error> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(|error| Error::Unwritable {
        path: "manual page".into(),
        why: error.to_string(),
    })?;
    say(String::from_utf8_lossy(&page).trim_end())?;
    Ok(0)
}

/// `filo devices`.
pub fn devices() -> Result<u8, Error> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    say(format_args!("{}  {cores} cores · f32 · chosen by auto", device::CPU_NAME))?;
    say("cuda, wgpu  not in this build")?;
    Ok(0)
}

//! What the program says about itself: completions, manual page, devices.

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::say::say;
use crate::device::{self, Found, Listing};
use crate::error::Error;
use crate::store::why_unwritable;

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

#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Command whose page to print, for example `weights convert` [default: that of the program].
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

impl ManArgs {
    pub fn run(self) -> Result<u8, Error> {
        // `filo help` has nothing to say that these pages do not.
        let mut program = Cli::command().disable_help_subcommand(true).after_help(
            "Each subcommand has a page: filo man score prints that of filo score, and \
             filo man weights convert that of filo weights convert.",
        );
        program.build();
        let mut command = &program;
        for name in &self.command {
            command = command.find_subcommand(name).ok_or_else(|| {
                let asked = self.command.join(" ");
                Error::NoPage { asked, hint: pages_below(command) }
            })?;
        }
        let mut page = Vec::new();
        let source = concat!("filo ", env!("CARGO_PKG_VERSION"));
        let page_of = clap_mangen::Man::new(command.clone()).source(source);
        page_of.render(&mut page).map_err(|error| Error::Unwritable {
            path: "manual page".into(),
            why: why_unwritable(&error),
        })?;
        say(String::from_utf8_lossy(&page).trim_end())?;
        Ok(0)
    }
}

/// What to ask for instead, where a command has no page for a name.
fn pages_below(command: &Command) -> String {
    let names = command.get_subcommands().map(Command::get_name).collect::<Vec<_>>();
    match names.is_empty() {
        true => format!("{} has no subcommands", command.get_bin_name().unwrap_or("filo")),
        false => format!("after {} comes one of {}", command.get_name(), names.join(", ")),
    }
}

/// `filo devices`.
pub fn devices() -> Result<u8, Error> {
    let listings = device::listings();
    let chosen = device::by_auto().name;
    let names = listings.iter().flat_map(|listing| &listing.found);
    let width = names.map(|found| found.name.len()).max().unwrap_or(0);
    for Listing { kind, found, troubles } in listings {
        for found in &found {
            let chosen = chosen == found.name;
            say(format_args!("{:width$}  {}", found.name, described(found, chosen)))?;
        }
        for trouble in troubles {
            say(format_args!("{kind:width$}  {}", trouble.why))?;
        }
    }
    Ok(0)
}

fn described(found: &Found, chosen: bool) -> String {
    let gibibytes = |bytes: u64| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64);
    let memory = found.memory.map(gibibytes);
    let free = found.free.map(|bytes| format!("{} free", gibibytes(bytes)));
    let precisions = found.precisions.iter().map(ToString::to_string).collect::<Vec<_>>();
    let software = found.software.then(|| "software: slow, never chosen by auto".to_owned());
    let chosen = chosen.then(|| "chosen by auto".to_owned());
    let parts =
        [Some(found.what.clone()), memory, free, Some(precisions.join(" ")), software, chosen];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

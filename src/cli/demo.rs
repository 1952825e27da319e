//! `demo`: the main job on an embedded token endpoint and gateway database.

use std::path::PathBuf;

use clap::Args;

use crate::cli::progress::tell;
use crate::cli::{Exit, block_on};
use crate::demo::{self, DemoOptions};

/// What `demo` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Refreshes of the first credential
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    cycles: u32,
    /// A new folder whose files are left to look at
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Plays the demo.
pub fn run(options: &Options) -> anyhow::Result<Exit> {
    let options = DemoOptions { cycles: options.cycles, keep: options.keep.clone() };
    Ok(match block_on(demo::run(options))? {
        Ok(_) => Exit::Fine,
        Err(error) => {
            tell(&format!("error: {error}\n"));
            Exit::Failed
        }
    })
}

//! A command: a program of one's own gets the message as JSON on its standard input.
//!
//! There is no shell: what is in a message can never become a command. Success is exit status 0.

use std::path::PathBuf;
use std::sync::Arc;

use super::address::json;
use super::wording::shown;
use super::{Command, Dispatch, Limits, Notice, Registration, Reply, Service, Values};
use crate::reason::{ConfigReason, NotifierReason};
use crate::secret::SecretSource;
use crate::section;
use crate::shape::{At, Section};
use crate::time::Timestamp;

/// The registry's line.
pub const REGISTRATION: Registration = Registration {
    name: "command",
    parse,
    #[cfg(test)]
    schema: |generator| <CommandSection as schemars::JsonSchema>::json_schema(generator),
};

section! {
    /// A program of one's own.
    pub struct CommandSection {
        /// The program: a path, or a name that is looked for in PATH. Required.
        pub program: PathBuf,
        /// Its arguments, as they are. Default: none.
        pub args: Vec<At<String>>,
    }
}

/// A program and its arguments.
#[derive(Debug)]
struct Program {
    program: PathBuf,
    args: Vec<String>,
}

fn parse(section: &mut Section<'_, '_>) -> Option<Arc<dyn Service>> {
    section.need(&["program"]);
    let table = CommandSection::take_from(section);
    let args = table.args.map_or_else(Vec::new, |args| args.value);
    if let Some(bad) = args.iter().find(|arg| arg.value.contains('\0')) {
        section.error("args", Some(bad.span.clone()), ConfigReason::OutOfRange { bounds: "without NUL".into() });
        return None;
    }
    let args = args.into_iter().map(|arg| arg.value).collect();
    Some(Arc::new(Program { program: table.program?.value, args }))
}

impl Service for Program {
    fn sources(&self) -> Vec<&SecretSource> {
        Vec::new()
    }

    fn request(&self, notice: &Notice, _values: &Values, _now: Timestamp) -> Result<Dispatch, NotifierReason> {
        let input = [json(notice)?, b"\n".to_vec()].concat();
        Ok(Dispatch::Command(Command { program: self.program.clone(), args: self.args.clone(), input }))
    }

    fn accepted(&self, reply: &Reply) -> Result<(), NotifierReason> {
        if reply.status == 0 {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&reply.body);
        let last = words.lines().rev().find_map(shown);
        Err(NotifierReason::CommandFailed { status: reply.status, words: last })
    }

    fn limits(&self) -> Limits {
        Limits::COURTEOUS
    }

    fn speaks_http(&self) -> bool {
        false
    }
}

//! Examples beneath each command's `--help`, the completions and the manual: all come from the command line's own
//! description.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::{Arguments, Exit, print};

/// A command (its names between blanks; none for the program itself) and its examples, each with what it is for.
pub const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "",
        &[
            ("one-api-sidecar check", "is the config right?"),
            ("one-api-sidecar doctor", "would it work here?"),
            ("one-api-sidecar run", "go to work"),
            ("one-api-sidecar status --watch", "look at it"),
        ],
    ),
    ("run", &[("one-api-sidecar run", "with ./sidecar.toml"), ("one-api-sidecar run -c /data/sidecar.toml", "")]),
    (
        "once",
        &[
            ("one-api-sidecar once", "refresh what is due, for cron"),
            ("one-api-sidecar once --force openai", "refresh this one now"),
        ],
    ),
    ("check", &[("one-api-sidecar check", ""), ("one-api-sidecar check --json", "for an editor or a script")]),
    (
        "doctor",
        &[("one-api-sidecar doctor", "works beside a running agent, too"), ("one-api-sidecar doctor --json", "")],
    ),
    (
        "status",
        &[
            ("one-api-sidecar status", ""),
            ("one-api-sidecar status --watch", "redrawn every second"),
            ("one-api-sidecar status --json", "the same as GET /api/status"),
            ("one-api-sidecar status --vault vault.db", "while the config is broken"),
        ],
    ),
    ("retry", &[("one-api-sidecar retry openai", "after what halted it was mended")]),
    (
        "adopt",
        &[
            ("one-api-sidecar adopt 1", "channel 1 gets our key again"),
            ("one-api-sidecar adopt eu/1", "where there are several gateways"),
        ],
    ),
    ("release", &[("one-api-sidecar release 1", "channel 1 gets back the key it had before")]),
    (
        "health",
        &[
            ("one-api-sidecar health", "for HEALTHCHECK"),
            ("one-api-sidecar health --credentials", "for a monitor: fails when a human is needed, too"),
        ],
    ),
    ("channels", &[("one-api-sidecar channels", "")]),
    (
        "login",
        &[
            ("one-api-sidecar login openai", "by a code on another device, where the provider can do that"),
            ("one-api-sidecar login openai --browser", "by a browser on this machine"),
            ("one-api-sidecar login openai --paste", "by a browser elsewhere"),
        ],
    ),
    (
        "import",
        &[
            ("one-api-sidecar import ~/.codex/auth.json", "says what it would do"),
            ("one-api-sidecar import ~/.codex/auth.json --yes", "does it"),
            ("one-api-sidecar import token.json --pointer refresh_token=/a/b --name openai", "any other JSON"),
        ],
    ),
    ("notify", &[("one-api-sidecar notify test", "")]),
    (
        "notify test",
        &[("one-api-sidecar notify test", "through each notifier"), ("one-api-sidecar notify test wechat", "one only")],
    ),
    ("secret", &[("one-api-sidecar secret set openai", ""), ("one-api-sidecar secret list", "")]),
    (
        "secret set",
        &[
            ("one-api-sidecar secret set openai", "asks for the value"),
            ("one-api-sidecar secret set openai < token.txt", "reads it"),
        ],
    ),
    ("secret list", &[("one-api-sidecar secret list", "names, never values")]),
    ("secret delete", &[("one-api-sidecar secret delete openai", "")]),
    ("vault", &[("one-api-sidecar vault check", ""), ("one-api-sidecar vault keygen", "")]),
    ("vault keygen", &[("one-api-sidecar vault keygen > vault.key", "keep a copy elsewhere")]),
    (
        "vault rekey",
        &[("one-api-sidecar vault rekey --new-key file:/run/secrets/new.key", "the config's is the old one")],
    ),
    ("vault check", &[("one-api-sidecar vault check", "works beside a running agent, too")]),
    ("vault reset", &[("one-api-sidecar vault reset", "asks first")]),
    (
        "demo",
        &[
            ("one-api-sidecar demo", ""),
            ("one-api-sidecar demo --cycles 3 --keep /tmp/demo", "leaves the files to look at"),
        ],
    ),
    ("schema", &[("one-api-sidecar schema > sidecar.schema.json", "")]),
    (
        "completions",
        &[
            ("one-api-sidecar completions bash > ~/.local/share/bash-completion/completions/one-api-sidecar", ""),
            ("one-api-sidecar completions zsh > ~/.zfunc/_one-api-sidecar", "with ~/.zfunc in fpath"),
            ("one-api-sidecar completions fish > ~/.config/fish/completions/one-api-sidecar.fish", ""),
        ],
    ),
    (
        "man",
        &[
            ("one-api-sidecar man | man -l -", "read it"),
            ("one-api-sidecar man --out /usr/local/share/man/man1", "a page for each command"),
        ],
    ),
];

/// The command line, with the examples.
pub fn command() -> Command {
    with_examples(Arguments::command(), "")
}

fn with_examples(command: Command, path: &str) -> Command {
    let examples = EXAMPLES.iter().find(|(name, _)| *name == path).map(|(_, examples)| shown(examples));
    let command = match examples {
        Some(examples) => command.after_help(examples),
        None => command,
    };
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name()).trim_start().to_owned();
        with_examples(sub, &path)
    })
}

fn shown(examples: &[(&str, &str)]) -> String {
    let widest = examples.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
    let line = |(line, what): &(&str, &str)| match *what {
        "" => format!("  {line}"),
        // A long one has its purpose on a line before it.
        what if widest > 50 => format!("  # {what}\n  {line}"),
        what => format!("  {line:widest$}  # {what}"),
    };
    format!("Examples:\n{}", examples.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// What `completions` takes.
#[derive(Debug, Args)]
pub struct CompletionsOptions {
    /// The shell
    #[arg(value_parser = clap::builder::EnumValueParser::<Shell>::new())]
    shell: Shell,
}

/// Prints the completions of a shell.
pub fn completions(options: &CompletionsOptions) -> anyhow::Result<Exit> {
    let mut command = command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    let script = String::from_utf8(script).context("the completions are not text")?;
    // clap_complete 4.6.11 writes the dashes of the program's name in two ways for bash: its cases are never met.
    print(&script.replace("one__subcmd__api__subcmd__sidecar", "one__api__sidecar"))?;
    Ok(Exit::Fine)
}

/// What `man` takes.
#[derive(Debug, Args)]
pub struct ManOptions {
    /// Write a page for each command into this folder, in place of one page with all on standard output
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the manual, or writes it.
pub fn man(options: &ManOptions) -> anyhow::Result<Exit> {
    let mut command = command();
    command.build();
    match &options.out {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            write_pages(&command, folder)?;
        }
        None => print(&whole(&command)?)?,
    }
    Ok(Exit::Fine)
}

fn write_pages(command: &Command, folder: &Path) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    commands_of(command).try_for_each(|sub| write_pages(sub, folder))
}

fn commands_of(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help")
}

/// All commands on one page.
fn whole(command: &Command) -> anyhow::Result<String> {
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.write_all(b".SH COMMANDS\n")?;
    for sub in commands_of(command) {
        write_command(sub, &mut page)?;
    }
    page.write_all(AFTER.as_bytes())?;
    Ok(String::from_utf8(page)?)
}

/// A command as a subsection: the sections of its own page lose their headings.
fn write_command(command: &Command, page: &mut Vec<u8>) -> anyhow::Result<()> {
    // What every command takes stands at the top.
    let is_common = |arg: &clap::Arg| ["config", "help"].contains(&arg.get_id().as_str());
    let man = Man::new(command.clone().mut_args(|arg| if is_common(&arg) { arg.hide(true) } else { arg }));
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).replace('-', "\\-");
    writeln!(page, ".SS \"{name}\"")?;
    for render in [Man::render_synopsis_section, Man::render_description_section, Man::render_options_section] {
        let mut section = Vec::new();
        render(&man, &mut section as &mut dyn Write)?;
        page.extend(without_heading(&String::from_utf8(section)?).bytes());
    }
    if let Some(examples) = command.get_after_help() {
        writeln!(page, ".PP\n.nf")?;
        for line in examples.to_string().lines() {
            writeln!(page, "{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
        }
        writeln!(page, ".fi")?;
    }
    commands_of(command).try_for_each(|sub| write_command(sub, page))
}

fn without_heading(section: &str) -> String {
    let paragraph = |line: &str| if line.starts_with(".SH") { ".PP\n".to_owned() } else { format!("{line}\n") };
    section.lines().map(paragraph).collect()
}

/// What the command line's description does not say.
const AFTER: &str = r#".SH "EXIT STATUS"
.TP
0
fine
.TP
1
something unexpected, or some credential failed
.TP
2
wrong usage
.TP
3
bad configuration, or a vault that must not be touched
.TP
4
a human must authorize again or decide: a credential is halted
.SH ENVIRONMENT
.TP
ONE_API_SIDECAR_CONFIG
the config file
.TP
ONE_API_SIDECAR_LOG
what is logged: error, warn (the default of commands), info (the default of the agent), debug, trace, off, or
MODULE=LEVEL, several with commas
.TP
ONE_API_SIDECAR_LOG_FORMAT
text or json
.TP
NO_COLOR
no colour, where it is set to anything
.SH FILES
.TP
sidecar.toml
in the current folder, else in /etc/one\-api\-sidecar
.TP
one\-api\-sidecar/vault.db
beside the gateway's database: the vault, with its lock, its socket and its reserve
"#;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;

    fn paths(command: &Command, path: &str, found: &mut BTreeSet<String>) {
        found.insert(path.to_owned());
        for sub in commands_of(command) {
            paths(sub, format!("{path} {}", sub.get_name()).trim_start(), found);
        }
    }

    #[test]
    fn every_command_has_examples_and_each_can_be_typed() {
        let mut commands = BTreeSet::new();
        paths(&Arguments::command(), "", &mut commands);
        let with_examples: BTreeSet<String> = EXAMPLES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(with_examples, commands);
        for (path, examples) in EXAMPLES {
            for (line, _) in *examples {
                assert!(line.starts_with(format!("one-api-sidecar {path}").trim_end()), "{path}: {line}");
                let typed = line.split([' ']).take_while(|word| !["|", ">", "<"].contains(word));
                let parsed = Arguments::try_parse_from(typed);
                assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
            }
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_line_of_help_fits_eighty_columns_but_what_is_typed() {
        fn walk(command: &mut Command) {
            let help = command.clone().term_width(80).render_long_help().to_string();
            for line in help.lines().filter(|line| !line.trim_start().starts_with("one-api-sidecar ")) {
                assert!(line.len() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands_mut().for_each(walk);
        }
        let mut command = command();
        command.build();
        walk(&mut command);
    }
}

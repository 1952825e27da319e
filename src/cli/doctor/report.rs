//! What `doctor` found, as people and as programs read it.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::cli::paper::{Paint, Paper};
use crate::config::plan::Plan;
use crate::config::report::Report;
use crate::finding::{Finding, Severity};
use crate::messages::{self, About, Words};
use crate::reason::{Language, Reason};

/// What a check is about: the headings, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    Config,
    Secrets,
    Vault,
    Gateways,
    Endpoints,
    Machine,
    Notifiers,
}

impl Topic {
    const ALL: [Self; 7] =
        [Self::Config, Self::Secrets, Self::Vault, Self::Gateways, Self::Endpoints, Self::Machine, Self::Notifiers];

    /// Its place among the headings.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is well.
    Good,
    /// It works, and somebody should know.
    Warning,
    /// It does not work.
    Error,
    /// It could not be looked at, because something else is missing.
    Skipped,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub topic: Topic,
    /// What it is about: `credential "openai"`; empty for the whole.
    pub about: String,
    pub verdict: Verdict,
    /// Why, in a word that stays: `gateway.missing`.
    pub reason: Option<String>,
    pub message: String,
    pub remedy: Option<String>,
}

/// Everything that was looked at, in order.
pub struct Checks {
    language: Language,
    all: Vec<Check>,
}

#[derive(Serialize)]
struct Json<'a> {
    works: bool,
    checks: Vec<&'a Check>,
}

impl Checks {
    pub fn new(language: Language) -> Self {
        Self { language, all: Vec::new() }
    }

    pub fn push(&mut self, check: Check) {
        self.all.push(check);
    }

    /// Something that is well, or was not looked at.
    pub fn note(&mut self, topic: Topic, about: impl Into<String>, verdict: Verdict, message: impl Into<String>) {
        self.push(Check { topic, about: about.into(), verdict, reason: None, message: message.into(), remedy: None });
    }

    /// Something that is well.
    pub fn good(&mut self, topic: Topic, about: impl Into<String>, message: impl Into<String>) {
        self.note(topic, about, Verdict::Good, message);
    }

    /// Something that somebody should know or mend.
    pub fn find(&mut self, topic: Topic, about: impl Into<String>, verdict: Verdict, reason: &Reason) {
        self.find_of(topic, about, verdict, reason, About::default());
    }

    /// The same; commands in the remedy name what it is about.
    pub fn find_of(
        &mut self,
        topic: Topic,
        about: impl Into<String>,
        verdict: Verdict,
        reason: &Reason,
        whom: About<'_>,
    ) {
        let message = messages::explain_about(self.language, reason, whom);
        let (reason, remedy) = (Some(reason.code()), Some(message.remedy));
        self.push(Check { topic, about: about.into(), verdict, reason, message: message.what, remedy });
    }

    /// What a room said of itself.
    pub fn finding(&mut self, topic: Topic, finding: Finding) {
        let verdict = match finding.severity {
            Severity::Error => Verdict::Error,
            Severity::Warning => Verdict::Warning,
        };
        // Under its heading the vault need not be named again.
        let about = if finding.about == "vault" { String::new() } else { finding.about };
        self.find(topic, about, verdict, &finding.reason);
    }

    /// A problem of the config file.
    pub fn config_problem(&mut self, told: Report) {
        let place = match (told.line, told.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", told.file),
            _ => told.file,
        };
        let about = if told.field.is_empty() { place } else { format!("{place}: {}", told.field) };
        let verdict = if told.severity == Severity::Error { Verdict::Error } else { Verdict::Warning };
        let reason = Some("config.problem".into());
        self.push(Check {
            topic: Topic::Config,
            about,
            verdict,
            reason,
            message: told.message,
            remedy: Some(told.remedy),
        });
    }

    /// What the config holds.
    pub fn config_well(&mut self, path: &Path, plan: &Plan) {
        let line = self.words().doctor.config;
        let line = line
            .replace("{credentials}", &plan.credentials.len().to_string())
            .replace("{gateways}", &plan.gateways.len().to_string())
            .replace("{notifiers}", &plan.notifiers.len().to_string());
        self.good(Topic::Config, path.display().to_string(), line);
    }

    fn words(&self) -> &'static Words {
        messages::words(self.language)
    }

    /// Whether nothing is in the way.
    pub fn works(&self) -> bool {
        self.all.iter().all(|check| check.verdict != Verdict::Error)
    }

    fn sorted(&self) -> Vec<&Check> {
        let mut sorted: Vec<&Check> = self.all.iter().collect();
        sorted.sort_by_key(|check| check.topic);
        sorted
    }

    /// As programs read it.
    ///
    /// # Errors
    /// None that can be expected.
    pub fn json(&self) -> anyhow::Result<String> {
        let json = Json { works: self.works(), checks: self.sorted() };
        Ok(format!("{}\n", serde_json::to_string_pretty(&json)?))
    }

    /// As people read it: the headings, a mark each, a remedy with each finding, and one sentence.
    pub fn text(&self) -> String {
        let paper = Paper::of_stdout();
        let words = self.words();
        let mark = |verdict| match (verdict, paper.is_utf8()) {
            (Verdict::Good, true) => "✓",
            (Verdict::Good, false) => "+",
            (Verdict::Warning, _) => "!",
            (Verdict::Error, true) => "✗",
            (Verdict::Error, false) => "x",
            (Verdict::Skipped, _) => "-",
        };
        let paint = |verdict| match verdict {
            Verdict::Good => Paint::Good,
            Verdict::Warning => Paint::Warning,
            Verdict::Error => Paint::Bad,
            Verdict::Skipped => Paint::Dim,
        };
        let sorted = self.sorted();
        let mut out = String::new();
        for topic in Topic::ALL {
            let mut checks = sorted.iter().filter(|check| check.topic == topic).peekable();
            if checks.peek().is_none() {
                continue;
            }
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(out, "{}", paper.paint(Paint::Title, words.doctor.topic(topic.index())));
            for check in checks {
                let about = if check.about.is_empty() { String::new() } else { format!("{}: ", check.about) };
                let mark = paper.paint(paint(check.verdict), mark(check.verdict));
                let _ = writeln!(out, "{}", paper.wrap(&format!("  {mark} {about}{}", check.message), 4));
                if let Some(remedy) = &check.remedy {
                    let _ = writeln!(out, "{}", paper.wrap(&format!("    {}: {remedy}", words.help), 6));
                }
            }
            out.push('\n');
        }
        let has_warnings = self.all.iter().any(|check| check.verdict == Verdict::Warning);
        let (sentence, verdict) = match (self.works(), has_warnings) {
            (true, false) => (words.would_work, Verdict::Good),
            (true, true) => (words.doctor.would_work_but, Verdict::Warning),
            (false, _) => (words.would_not_work, Verdict::Error),
        };
        let sentence = sentence.replace("{mark}", mark(verdict));
        let _ = writeln!(out, "{}", paper.paint(paint(verdict), &sentence));
        out
    }
}

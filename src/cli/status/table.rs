//! How everything stands, as a table that fits a terminal of 80 columns.

use std::fmt::Write;

use crate::cli::paper::{Paint, Paper, columns, padded};
use crate::messages::{self, Words};
use crate::reason::Language;
use crate::telemetry::status::{ChannelStatus, CredentialState, CredentialStatus, Status, channel_word};
use crate::time::Timestamp;

/// Blanks between two columns.
const GAP: usize = 2;

/// Everything: the config's problem, the table, what is left over, the agent.
pub fn whole(status: &Status, language: Language, paper: Paper) -> String {
    let words = messages::words(language);
    let mut out = String::new();
    // Writing to a String cannot fail, here and below.
    if let Some(problem) = &status.agent.config.problem {
        let error = paper.paint(Paint::Bad, words.error);
        let _ = writeln!(out, "{}\n", paper.wrap(&format!("{error}: {problem}"), 2));
    }
    out.push_str(&table(&status.credentials, language, status.time, paper));
    for name in &status.orphans {
        let orphaned = paper.wrap(&words.vault.orphaned.replace("{}", name), 2);
        let _ = writeln!(out, "{}", paper.paint(Paint::Dim, &orphaned));
    }
    for notifier in &status.notifiers {
        if let Some(problem) = &notifier.problem {
            let line = paper.wrap(&format!("{}: {}: {problem}", notifier.name, words.refused), 2);
            let _ = writeln!(out, "{}", paper.paint(Paint::Warning, &line));
        }
    }
    let agent = match (status.agent.running, status.agent.since) {
        (true, Some(since)) => words.agent_runs_since.replace("{}", &words.length(status.time.since(since))),
        (true, None) => words.agent_runs.to_owned(),
        (false, _) => words.agent_is_down.to_owned(),
    };
    let paint = if status.agent.running { Paint::Dim } else { Paint::Warning };
    let _ = writeln!(out, "\n{}", paper.paint(paint, &agent));
    out
}

/// The credentials as a table, what needs attention first, the channels beneath.
pub fn table(credentials: &[CredentialStatus], language: Language, now: Timestamp, paper: Paper) -> String {
    let words = messages::words(language);
    let mut sorted: Vec<&CredentialStatus> = credentials.iter().collect();
    sorted.sort_by_key(|credential| attention(credential));
    let moment = |moment: Option<Timestamp>| moment.map_or_else(|| "—".into(), |at| words.from_now(at, now));
    let rows: Vec<[String; 5]> = sorted
        .iter()
        .map(|credential| {
            [
                credential.name.clone(),
                credential.state.word(words).to_owned(),
                moment(credential.expires_at),
                moment(credential.refresh_at),
                credential.failures.to_string(),
            ]
        })
        .collect();
    let titles = &words.columns;
    let titles = [titles.credential, titles.state, titles.expires, titles.next_refresh, titles.failures];
    let widths = widths(&titles, &rows, paper.width());
    let mut out = String::new();
    let title: Vec<String> = titles.iter().zip(widths).map(|(title, width)| padded(title, width)).collect();
    let _ = writeln!(out, "{}", paper.paint(Paint::Dim, title.join("  ").trim_end()));
    for (credential, row) in sorted.iter().zip(&rows) {
        // A name that is too long for its column has a line to itself: it is typed in commands, so all of it is shown.
        let (first, name) =
            if columns(&row[0]) > widths[0] { (format!("{}\n", row[0]), "") } else { Default::default() };
        let name = if first.is_empty() { row[0].as_str() } else { name };
        let cells = [name, &row[1], &row[2], &row[3], &row[4]];
        let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| padded(cell, width)).collect();
        let state = paper.paint(paint(credential.state), &cells[1]);
        let line = [&cells[0], &state, &cells[2], &cells[3], &cells[4]].map(String::as_str).join("  ");
        let _ = writeln!(out, "{first}{}", line.trim_end());
        if let Some(error) = &credential.last_error {
            let _ = writeln!(out, "{}", paper.paint(paint(credential.state), &paper.wrap(&format!("  {error}"), 2)));
        }
        for channel in &credential.channels {
            let _ = writeln!(out, "{}", paper.wrap(&channel_line(words, channel, now, paper), 4));
            if let Some(problem) = &channel.problem {
                let problem = paper.wrap(&format!("    {problem}"), 4);
                let _ = writeln!(out, "{}", paper.paint(Paint::Warning, &problem));
            }
        }
    }
    out
}

/// What needs attention comes first: by state, and among those that are well the ones whose channels are not.
fn attention(credential: &CredentialStatus) -> (u8, CredentialState) {
    let has_problem = credential.channels.iter().any(|channel| channel.problem.is_some());
    let rank = match credential.state {
        CredentialState::Halted | CredentialState::Expired | CredentialState::Uncertain | CredentialState::Failing => 0,
        CredentialState::Waiting | CredentialState::Active if has_problem => 1,
        CredentialState::Waiting => 2,
        CredentialState::Active => 3,
        CredentialState::Disabled => 4,
    };
    (rank, credential.state)
}

/// Each column as wide as what is in it; the names take what is left.
fn widths(titles: &[&str; 5], rows: &[[String; 5]], width: usize) -> [usize; 5] {
    let mut widths = [0; 5];
    for (column, widest) in widths.iter_mut().enumerate() {
        let cells = rows.iter().map(|row| columns(&row[column]));
        *widest = cells.chain([columns(titles[column])]).max().unwrap_or_default();
    }
    let others: usize = widths[1..].iter().map(|width| width + GAP).sum();
    widths[0] = widths[0].min(width.saturating_sub(others)).max(columns(titles[0]));
    widths
}

fn channel_line(words: &Words, channel: &ChannelStatus, now: Timestamp, paper: Paper) -> String {
    let known = channel.id.map(|id| id.to_string()).into_iter().chain(Some(channel.name.clone()));
    let known: Vec<String> = known.filter(|part| !part.is_empty()).collect();
    let state = channel_word(words, channel.state);
    let state = if channel.problem.is_some() { paper.paint(Paint::Warning, state) } else { state.to_owned() };
    let delivered = channel.delivered_at.map(|at| format!(" ({})", words.since(at, now))).unwrap_or_default();
    let arrow = if paper.is_utf8() { "→" } else { "->" };
    format!("  {arrow} {}/{}: {state}{delivered}", channel.gateway, known.join(" "))
}

fn paint(state: CredentialState) -> Paint {
    match state {
        CredentialState::Halted | CredentialState::Expired => Paint::Bad,
        CredentialState::Uncertain | CredentialState::Failing => Paint::Warning,
        CredentialState::Active => Paint::Good,
        CredentialState::Waiting | CredentialState::Disabled => Paint::Dim,
    }
}

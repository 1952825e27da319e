//! The figures as a table with ratios, and as a plot.

use std::fmt::Write;
use std::time::Duration;

use crate::idle::Idle;
use crate::lone::Lone;
use crate::plot::{Line, svg};
use crate::process::Footprint;
use crate::soak::{CREDENTIALS, Soak};
use crate::storm::Storm;
use crate::support::{Spread, milliseconds, table};
use crate::writers::Beside;

/// One size of the config.
pub struct Growth {
    pub size: usize,
    pub idle: Idle,
    pub storm: Storm,
}

/// Everything that was measured.
pub struct Report {
    pub machine: String,
    pub lone: Lone,
    pub growth: Vec<Growth>,
    /// Requests in flight, and how long each took of a second.
    pub http: Vec<(usize, Spread)>,
    /// The endpoint's latency in milliseconds, requests in flight, and each storm.
    pub storms: Vec<(u64, usize, Vec<Storm>)>,
    /// Refreshes a second, one after another, at an endpoint that takes 100 ms.
    pub one_by_one: f64,
    pub beside: Vec<Beside>,
    pub empty: Vec<(Footprint, Duration)>,
    pub soak: Option<Soak>,
}

/// Whether a goal is met, as the table says it.
fn met(is_met: bool) -> String {
    if is_met { "yes" } else { "**no**" }.to_owned()
}

fn median(spread: &Spread) -> f64 {
    spread.permille(500).unwrap_or_default().as_secs_f64()
}

fn median_of(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Median, and the lowest and highest beside it.
fn spread_of(figures: &[f64]) -> String {
    let low = figures.iter().copied().fold(f64::MAX, f64::min);
    let high = figures.iter().copied().fold(0.0, f64::max);
    format!("{:.0} ({low:.0}–{high:.0})", median_of(figures.to_vec()))
}

fn megabytes(kibibytes: u64) -> f64 {
    kibibytes as f64 * 1024.0 / 1e6
}

impl Report {
    /// Keys and tokens that got lost in any of the storms.
    pub fn lost(&self) -> usize {
        let all =
            self.storms.iter().flat_map(|(.., storms)| storms).chain(self.growth.iter().map(|growth| &growth.storm));
        all.chain(self.beside.iter().map(|beside| &beside.storm)).map(|storm| storm.lost).sum()
    }

    /// The tables, in Markdown.
    pub fn in_words(&self) -> String {
        let head = ["what", "goal", "limit in this run", "measured", "ratio", "met"];
        let mut out = table(&head, &self.goals());
        out.push('\n');
        let head = [
            "credentials",
            "start → ready, ms",
            "edit → applied, ms",
            "memory at rest, MB",
            "processor at rest",
            "start → first request with all overdue, ms",
            "due at once: refreshes/s",
            "processor for each, µs",
            "peak memory, MB",
            "keys or tokens lost",
        ];
        let rows: Vec<Vec<String>> = self.growth.iter().map(Growth::row).collect();
        out += &table(&head, &rows);
        let limits = self.lone.disk.as_ref().map(|disk| {
            format!(
                "commit of a vault {} ms, commit of a gateway's database {} ms, 4 KiB appended and synced {} ms",
                disk.vault_commit.in_words(),
                disk.gateway_commit.in_words(),
                disk.sync.in_words()
            )
        });
        let http: Vec<String> = self
            .http
            .iter()
            .map(|(in_flight, each)| format!("{:.0}/s with {in_flight} in flight", 1.0 / median(each)))
            .collect();
        let _ = write!(
            out,
            "\nLimits of the same run (p50 / p99 / max): {}; HTTP alone by the same client {}.\n\nMeasured on {}.\n",
            limits.unwrap_or_default(),
            http.join(", "),
            self.machine
        );
        out
    }

    fn goals(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let mut row = |cells: [String; 6]| rows.push(cells.to_vec());
        let lone = &self.lone;
        if let Some(disk) = &lone.disk {
            let ratio = median(&lone.visible) / median(&disk.both);
            row([
                "one refresh: answer → key visible to another process".into(),
                "≤ 1.2 × both commits".into(),
                format!("both commits: {} ms", disk.both.in_words()),
                format!("{} ms", lone.visible.in_words()),
                format!("{ratio:.2}×"),
                met(ratio <= 1.2),
            ]);
        }
        for (what, goal, took) in [("as daemon", 10.0, &lone.daemon), ("as `once`", 3.0, &lone.once)] {
            let ratio = median(&lone.script) / median(took);
            let is_there = lone.missing.is_empty();
            row([
                format!("whole cycle {what}"),
                format!("≥ {goal} × faster than `curl`, `jq`, `sqlite3`, `curl`"),
                if is_there {
                    format!("script: {} ms", lone.script.in_words())
                } else {
                    format!("{} not here", lone.missing.join(", "))
                },
                format!("{} ms", took.in_words()),
                if is_there { format!("{ratio:.1}×") } else { "–".into() },
                if is_there { met(ratio >= goal) } else { "–".into() },
            ]);
        }
        self.storm_goals(&mut row);
        self.writer_goals(&mut row);
        self.idle_goals(&mut row);
        if let Some(soak) = &self.soak {
            let days = soak.refreshes as f64 / CREDENTIALS as f64 / 24.0;
            row([
                format!("soak, {:.0} min, {} refreshes", soak.lasted.as_secs_f64() / 60.0, soak.refreshes),
                "memory's slope 0 within noise, descriptors constant".into(),
                format!("{CREDENTIALS} credentials refreshed hourly: {days:.0} days"),
                soak.in_words(),
                "–".into(),
                met(soak.is_flat()),
            ]);
        }
        rows
    }

    fn storm_goals(&self, row: &mut impl FnMut([String; 6])) {
        let best = self.http.iter().map(|(_, each)| 1.0 / median(each)).fold(0.0, f64::max);
        let size = self.growth.last().map_or(0, |growth| growth.size);
        for (latency, in_flight, storms) in &self.storms {
            let rates: Vec<f64> = storms.iter().map(|storm| storm.rate).collect();
            let rate = median_of(rates.clone());
            let instant = *latency == 0;
            let (limit, goal) =
                if instant { (best, 0.7) } else { (*in_flight as f64 * 1000.0 / *latency as f64, 0.88) };
            row([
                format!("{size} due at once, endpoint {latency} ms, {in_flight} in flight"),
                format!("≥ {goal} of {}", if instant { "the best raw HTTP" } else { "in flight ÷ latency" }),
                format!("{limit:.0}/s"),
                format!("{}/s", spread_of(&rates)),
                format!("{:.2}", rate / limit),
                met(rate / limit >= goal && storms.iter().all(|storm| storm.lost == 0)),
            ]);
            if instant {
                let slow = median_of(
                    storms
                        .iter()
                        .filter_map(|storm| storm.visible.permille(990))
                        .map(|slow| slow.as_secs_f64() * 1000.0)
                        .collect(),
                );
                let descriptors = storms.iter().map(|storm| storm.descriptors).max().unwrap_or(0);
                let peak = storms.iter().map(|storm| storm.footprint.peak).max().unwrap_or(0);
                row([
                    "… answer → visible, p99".into(),
                    "≤ 100 ms".into(),
                    "–".into(),
                    format!("{slow:.0} ms"),
                    "–".into(),
                    met(slow <= 100.0),
                ]);
                row([
                    "… descriptors, of 1,024".into(),
                    "≤ 300".into(),
                    "–".into(),
                    descriptors.to_string(),
                    "–".into(),
                    met(descriptors <= 300),
                ]);
                row([
                    "… peak memory while it lasts".into(),
                    "≤ 18 MB".into(),
                    "–".into(),
                    format!("{:.1} MB", megabytes(peak)),
                    "–".into(),
                    met(megabytes(peak) <= 18.0),
                ]);
            } else {
                let times = rate / self.one_by_one;
                row([
                    "… beside one after another".into(),
                    "≥ 230 ×".into(),
                    format!("{:.1}/s", self.one_by_one),
                    format!("{rate:.0}/s"),
                    format!("{times:.0}×"),
                    met(times >= 230.0),
                ]);
            }
        }
    }

    fn writer_goals(&self, row: &mut impl FnMut([String; 6])) {
        for beside in &self.beside {
            let p99 = |spread: &Spread| spread.permille(990).unwrap_or_default().as_secs_f64();
            let ratio = p99(&beside.here.took) / p99(&beside.elsewhere.took);
            let rates = [&beside.alone, &beside.elsewhere, &beside.here]
                .map(|pool| format!("{:.2} ({}/{})", pool.locked_of_1000(), pool.locked, pool.writes));
            let [alone, elsewhere, here] = rates;
            row([
                format!("{} writers of a gateway beside the storm: p99", beside.writers),
                "≤ 1.2 × the same storm that writes elsewhere".into(),
                format!(
                    "{} ms; alone {} ms",
                    milliseconds(Duration::from_secs_f64(p99(&beside.elsewhere.took))),
                    milliseconds(Duration::from_secs_f64(p99(&beside.alone.took)))
                ),
                format!(
                    "{} ms; the storm: {:.0}/s",
                    milliseconds(Duration::from_secs_f64(p99(&beside.here.took))),
                    beside.storm.rate
                ),
                format!("{ratio:.2}×"),
                met(ratio <= 1.2),
            ]);
            let own = [&beside.elsewhere, &beside.alone]
                .into_iter()
                .max_by(|one, other| one.locked_of_1000().total_cmp(&other.locked_of_1000()));
            let own = own.unwrap_or(&beside.alone);
            let added = beside.here.locked_of_1000() - own.locked_of_1000();
            // So many writers lock one another out now and then, and a few such cases are counted.
            let noise = 2.0 * beside.here.error_of_1000().hypot(own.error_of_1000());
            let (goal, allowed) =
                if beside.writers > 4 { ("as many, within noise", noise) } else { ("none added", 0.0) };
            row([
                "… \"database is locked\" of 1,000 writes".into(),
                goal.into(),
                format!("{elsewhere}; alone {alone}"),
                here,
                format!("{added:+.2} ± {noise:.2}"),
                met(added <= allowed),
            ]);
        }
    }

    fn idle_goals(&self, row: &mut impl FnMut([String; 6])) {
        let empty = median_of(self.empty.iter().map(|(footprint, _)| megabytes(footprint.resident)).collect());
        let start = median_of(self.empty.iter().map(|(_, took)| took.as_secs_f64() * 1000.0).collect());
        let limit = if cfg!(target_env = "musl") { 6.0 } else { 8.0 };
        if let Some(Growth { idle, size, .. }) = self.growth.iter().find(|growth| growth.size == 100) {
            let resident = megabytes(idle.footprint.resident);
            row([
                format!("idle, {size} credentials: memory"),
                format!("≤ {limit} MB"),
                format!("an empty process: {empty:.1} MB"),
                format!("{resident:.1} MB"),
                format!("{:.2}×", resident / empty),
                met(resident <= limit),
            ]);
            row([
                "… processor".into(),
                "≤ 0.1 % of a core".into(),
                "–".into(),
                format!("{:.3} %", idle.processor * 100.0),
                "–".into(),
                met(idle.processor <= 0.001),
            ]);
            row([
                "… wake-ups".into(),
                "≤ 1 a second".into(),
                "–".into(),
                format!("{:.2}", idle.wakes),
                "–".into(),
                met(idle.wakes < 1.05),
            ]);
            let ready = median(&idle.ready) * 1000.0;
            row([
                format!("start → ready, {size} credentials"),
                "≤ 20 ms".into(),
                format!("an empty process: {start:.1} ms"),
                format!("{} ms", idle.ready.in_words()),
                format!("{:.2}×", ready / start),
                met(ready <= 20.0),
            ]);
        }
        if let [first, .., last] = &self.growth[..] {
            let small = self.growth.iter().find(|growth| growth.size == 100 && last.size > 100).unwrap_or(first);
            let more = last.idle.footprint.resident.saturating_sub(small.idle.footprint.resident) as f64 * 1024.0;
            let each = more / (last.size - small.size) as f64;
            row([
                format!("each further idle credential, {} to {}", small.size, last.size),
                "≤ 2 KB".into(),
                "–".into(),
                format!("{:.2} KB", each / 1000.0),
                "–".into(),
                met(each <= 2000.0),
            ]);
        }
        for growth in &self.growth {
            let goal = match growth.size {
                100 => 150.0,
                10_000 => 1000.0,
                _ => continue,
            };
            let took = median(&growth.idle.applied) * 1000.0;
            row([
                format!("edit → applied, {} credentials", growth.size),
                format!("≤ {goal} ms"),
                "100 ms of quiet".into(),
                format!("{} ms", growth.idle.applied.in_words()),
                "–".into(),
                met(took <= goal),
            ]);
        }
    }

    /// Cost against size.
    pub fn plot(&self) -> String {
        let line = |name: &str, of: &dyn Fn(&Growth) -> f64| Line {
            name: name.to_owned(),
            points: self.growth.iter().map(|growth| (growth.size as f64, of(growth))).collect(),
        };
        svg(
            "Cost against size (dotted: as steep as the size itself)",
            &[
                line("start → ready, ms", &|growth| median(&growth.idle.ready) * 1000.0),
                line("edit → applied, ms", &|growth| median(&growth.idle.applied) * 1000.0),
                line("memory at rest, MB", &|growth| megabytes(growth.idle.footprint.resident)),
                line("all refreshed, ms", &|growth| growth.size as f64 / growth.storm.rate * 1000.0),
                line("processor for each, µs", &|growth| growth.storm.processor_each.as_secs_f64() * 1e6),
            ],
        )
    }
}

impl Growth {
    fn row(&self) -> Vec<String> {
        let Self { size, idle, storm } = self;
        vec![
            size.to_string(),
            idle.ready.in_words(),
            idle.applied.in_words(),
            format!("{:.1}", megabytes(idle.footprint.resident)),
            format!("{:.3} %", idle.processor * 100.0),
            milliseconds(storm.to_first),
            format!("{:.0}", storm.rate),
            format!("{:.0}", storm.processor_each.as_secs_f64() * 1e6),
            format!("{:.1}", megabytes(storm.footprint.peak)),
            storm.lost.to_string(),
        ]
    }
}

//! What benchmarks share: spreads, tables, the name of the machine, and tables written into documents.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// Lengths of time, to be shown as median, 99th percentile and worst.
#[derive(Debug, Default, Clone)]
pub struct Spread(Vec<Duration>);

impl Spread {
    pub fn add(&mut self, length: Duration) {
        self.0.push(length);
    }

    /// The smallest length that this many thousandths do not exceed; nothing, where nothing was measured.
    pub fn permille(&self, permille: usize) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * permille).div_ceil(1000).max(1);
        sorted.get(rank - 1).copied()
    }

    /// `p50 / p99 / max` in milliseconds.
    pub fn in_words(&self) -> String {
        let [Some(median), Some(high), Some(worst)] = [500, 990, 1000].map(|permille| self.permille(permille)) else {
            return "–".to_owned();
        };
        format!("{} / {} / {}", milliseconds(median), milliseconds(high), milliseconds(worst))
    }
}

/// With as many digits as there is meaning in.
pub fn milliseconds(length: Duration) -> String {
    let length = length.as_secs_f64() * 1000.0;
    if length < 9.95 { format!("{length:.1}") } else { format!("{length:.0}") }
}

/// A table in Markdown, its columns padded so that it reads in a terminal too.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut out = String::new();
    for row in [&head, &rule].into_iter().chain(rows) {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(out, "| {cell}{} ", " ".repeat(width - cell.chars().count()));
        }
        out.push_str("|\n");
    }
    out
}

/// The processor, the system, and the filesystem of the folder that was measured in.
pub fn machine(folder: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let mounts = read("/proc/self/mounts");
    let filesystem = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(mount_point, _)| folder.starts_with(mount_point))
        .max_by_key(|(mount_point, _)| mount_point.len())
        .map_or("?", |(_, filesystem)| filesystem);
    format!(
        "{model}, {cores} cores, Linux {}, {filesystem}, load average before the run {}",
        kernel.trim(),
        load.split(' ').next().unwrap_or("?")
    )
}

/// Puts a text between `<!-- NAME:begin -->` and `<!-- NAME:end -->` of a document.
pub fn write_between(document: &Path, name: &str, text: &str) -> Result<(), String> {
    let shown = document.display();
    let old = std::fs::read_to_string(document).map_err(|error| format!("{shown}: {error}"))?;
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
    let split = || {
        let (before, rest) = old.split_once(&begin)?;
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}{text}{end}{after}"))
    };
    let new = split().ok_or_else(|| format!("{shown}: has no {begin}and {end}"))?;
    std::fs::write(document, new).map_err(|error| format!("{shown}: {error}"))
}

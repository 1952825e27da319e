//! A plot of cost against size, both axes logarithmic, as SVG.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 60.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#c2410c", "#15803d", "#7e22ce", "#b91c1c", "#334155"];

/// One line: what it shows, and its points.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Draws lines; a cost that grows with the size is as steep as the dotted one.
pub fn svg(title: &str, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points).filter(|point| point.0 > 0.0 && point.1 > 0.0);
    let bound =
        |of: fn(&(f64, f64)) -> f64, pick: fn(f64, f64) -> f64, start: f64| all().map(of).fold(start, pick).log10();
    let (left, right) = (bound(|at| at.0, f64::min, f64::MAX), bound(|at| at.0, f64::max, 0.0));
    let (low, high) = (bound(|at| at.1, f64::min, f64::MAX).floor(), bound(|at| at.1, f64::max, 0.0).ceil());
    let x = |value: f64| MARGIN + (value.log10() - left) / (right - left).max(0.1) * (WIDTH - 2.0 * MARGIN - 160.0);
    let y = |value: f64| HEIGHT - MARGIN - (value.log10() - low) / (high - low).max(0.1) * (HEIGHT - 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    // Writing to a String cannot fail.
    for decade in low as i32..=high as i32 {
        let (value, at) = (10f64.powi(decade), y(10f64.powi(decade)));
        let end = x(10f64.powf(right));
        let _ = writeln!(
            out,
            "<line x1=\"{MARGIN}\" x2=\"{end:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            MARGIN - 6.0,
            at + 4.0
        );
    }
    let mut sizes: Vec<f64> = all().map(|point| point.0).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    for size in sizes {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{size}</text>",
            x(size),
            HEIGHT - MARGIN + 18.0
        );
    }
    let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\">credentials</text>", MARGIN, HEIGHT - 14.0);
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<String> =
            line.points.iter().filter(|at| at.1 > 0.0).map(|at| format!("{:.1},{:.1}", x(at.0), y(at.1))).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
        for point in &points {
            let (px, py) = point.split_once(',').unwrap_or_default();
            let _ = writeln!(out, "<circle cx=\"{px}\" cy=\"{py}\" r=\"3\" fill=\"{colour}\"/>");
        }
        if let Some(last) = line.points.last() {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
                x(last.0) + 8.0,
                y(last.1) + 4.0,
                line.name
            );
        }
    }
    let (from, decades) = (low + 0.05, (right - left).min(high - low - 0.1));
    let _ = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#999\" stroke-dasharray=\"3 4\"/>\n</svg>",
        x(10f64.powf(left)),
        y(10f64.powf(from)),
        x(10f64.powf(left + decades)),
        y(10f64.powf(from + decades))
    );
    out
}

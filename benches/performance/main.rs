//! The goals of speed and size, each beside what this machine gives, in one run; and how every cost grows with the
//! number of credentials.
//!
//! ```sh
//! cargo bench --bench performance                                              # about five minutes
//! cargo bench --bench performance -- --write docs/performance.md               # and docs/performance.svg beside it
//! PERFORMANCE_SHORT=1 cargo bench --bench performance                          # some seconds: it runs at all
//! PERFORMANCE_SOAK_MINUTES=10 cargo bench --bench performance                  # and a soak of so many minutes
//! cargo bench --bench performance -- --storm 10000 64 0                        # storms only, for a profiler: how many
//!                                                   # are due, how many in flight, the endpoint's latency in ms
//! cargo bench --bench performance -- --http 10000 64                           # HTTP alone only: requests, in flight
//! cargo bench --bench performance -- --lone 60                                 # single refreshes only, so many of them
//! cargo bench --bench performance -- --soak 30                                 # the soak only, so many minutes
//! ```
//!
//! The program is measured as people run it: the release binary, as a child process, with its log on. The token
//! endpoint and everything that watches run in this process. `PERFORMANCE_PROGRAM` is another binary to measure,
//! `PERFORMANCE_SIZES` (`10,100`) other numbers of credentials, `PERFORMANCE_DIR` where the databases are made (by default the folder of the build), `PERFORMANCE_LOG` another filter
//! for the log.

mod endpoint;
mod idle;
mod limits;
mod lone;
mod plot;
mod process;
mod report;
mod scene;
mod soak;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod writers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use endpoint::Endpoint;
use report::{Growth, Report};
use scene::{Scene, place};
use storm::storm;
use support::{Spread, machine, write_between};

/// How much is measured.
pub struct Extent {
    sizes: Vec<usize>,
    turns: usize,
    rounds: usize,
    idle: Duration,
    soak: Option<Duration>,
}

impl Extent {
    fn wanted() -> Self {
        let is_short = std::env::var_os("PERFORMANCE_SHORT").is_some();
        let minutes: Option<f64> = std::env::var("PERFORMANCE_SOAK_MINUTES").ok().and_then(|text| text.parse().ok());
        let soak = minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
        let sizes = std::env::var("PERFORMANCE_SIZES").ok();
        let sizes = sizes.map(|sizes| sizes.split(',').map(|size| size.trim().parse().unwrap()).collect());
        if is_short {
            Self {
                sizes: sizes.unwrap_or_else(|| vec![10, 100]),
                turns: 4,
                rounds: 1,
                idle: Duration::from_secs(2),
                soak,
            }
        } else {
            Self {
                sizes: sizes.unwrap_or_else(|| vec![10, 100, 1_000, 10_000]),
                // The medians of fewer differ by a twentieth from run to run.
                turns: 150,
                rounds: 3,
                idle: Duration::from_secs(15),
                soak,
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != "--bench").collect();
    match arguments[..] {
        ["--as-client", url, requests, in_flight] => {
            limits::be_a_client(url, requests.parse().unwrap(), in_flight.parse().unwrap());
            return ExitCode::SUCCESS;
        }
        ["--as-nothing"] => {
            limits::be_nothing();
            return ExitCode::SUCCESS;
        }
        // Cargo says so when it is `cargo bench`, and not when it is `cargo test --benches`.
        _ if !std::env::args().any(|argument| argument == "--bench") => {
            println!("a benchmark: run it by `cargo bench --bench performance`");
            return ExitCode::SUCCESS;
        }
        ["--storm", size, in_flight, latency] => {
            return storms_only(size.parse().unwrap(), in_flight.parse().unwrap(), latency.parse().unwrap());
        }
        ["--http", requests, in_flight] => {
            let rate = limits::raw_http(&Endpoint::start(1), requests.parse().unwrap(), in_flight.parse().unwrap());
            println!("{rate:.0}/s");
            return ExitCode::SUCCESS;
        }
        ["--lone", turns] => {
            println!("{}", lone::measure(turns.parse().unwrap()).in_words());
            return ExitCode::SUCCESS;
        }
        ["--soak", minutes] => {
            let soak = soak::measure(Duration::from_secs_f64(60.0 * minutes.parse::<f64>().unwrap()));
            println!("{}", soak.in_words());
            return ExitCode::SUCCESS;
        }
        [] | ["--write", _] => {}
        _ => {
            let others = "--storm SIZE IN_FLIGHT MILLISECONDS, --http REQUESTS IN_FLIGHT, --lone TURNS, --soak MINUTES";
            eprintln!("there is --write FILE, {others}, and nothing else");
            return ExitCode::from(2);
        }
    }
    let report = measure(&Extent::wanted());
    println!("{}", report.in_words());
    if let ["--write", document] = arguments[..] {
        let document = PathBuf::from(document);
        let drawn = std::fs::write(document.with_extension("svg"), report.plot());
        let written = drawn.map_err(|error| error.to_string());
        if let Err(error) = written.and_then(|()| write_between(&document, "performance", &report.in_words())) {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    if report.lost() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn storms_only(size: usize, in_flight: usize, latency: u64) -> ExitCode {
    let mut scene = Scene::new(size);
    scene.deliver_everything();
    scene.set_in_flight(in_flight);
    scene.endpoint.set_latency(Duration::from_millis(latency));
    for _ in 0..Extent::wanted().rounds {
        println!("{}", storm(&scene, true).in_words());
    }
    ExitCode::SUCCESS
}

fn measure(extent: &Extent) -> Report {
    let began = Instant::now();
    let step = |what: &str| eprintln!("{:>4} s: {what}", began.elapsed().as_secs());
    let machine = machine(&place());
    step("one refresh");
    let lone = lone::measure(extent.turns);

    let mut growth = Vec::new();
    for &size in &extent.sizes {
        step(&format!("{size} credentials, at rest"));
        let mut scene = Scene::new(size);
        scene.set_in_flight(256);
        scene.deliver_everything();
        let idle = idle::measure(&mut scene, extent.rounds, extent.rounds, extent.idle);
        scene.endpoint.set_latency(Duration::ZERO);
        growth.push(Growth { size, idle, storm: storm(&scene, true) });
    }

    let size = *extent.sizes.last().unwrap();
    let mut scene = Scene::new(size);
    step(&format!("{size} credentials due at once"));
    scene.deliver_everything();
    let (mut http, mut storms) = (Vec::new(), Vec::new());
    let raw = Endpoint::start(1);
    for in_flight in [16, 64, 256] {
        http.push((in_flight, Spread::default()));
        storms.push((0, in_flight, Vec::new()));
    }
    storms.remove(0);
    storms.push((100, 256, Vec::new()));
    for _ in 0..extent.rounds {
        // In turn, so that whatever else the machine does meets all of them.
        for (in_flight, rates) in &mut http {
            let rate = limits::raw_http(&raw, size.max(1000), *in_flight);
            rates.add(Duration::from_secs_f64(1.0 / rate));
        }
        for (latency, in_flight, results) in &mut storms {
            scene.set_in_flight(*in_flight);
            scene.endpoint.set_latency(Duration::from_millis(*latency));
            results.push(storm(&scene, true));
        }
    }
    let one_by_one = {
        raw.set_latency(Duration::from_millis(100));
        limits::raw_http(&raw, 20, 1)
    };
    step("beside a gateway's writers");
    let beside = [4, 16].map(|count| writers::measure(&scene, count, extent.rounds));
    step("an empty process");
    let empty = (0..extent.rounds.max(3)).map(|_| limits::empty_process()).collect();
    let soak = extent.soak.map(|length| {
        step("soak");
        soak::measure(length)
    });
    Report { machine, lone, growth, http, storms, one_by_one, beside: beside.into(), empty, soak }
}

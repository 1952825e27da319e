//! The QR code of `login`: what a camera reads off a terminal, and that nothing is drawn where there is none.

mod support;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rqrr::PreparedImage;
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;
use support::database;
use support::endpoint::{Action, Endpoint, Options};
use support::process::{Bench, PROGRAM};

const ADDRESS: &str = "https://acme.example/device?user_code=WDJB-MJHT";
/// Blocks of two modules, the upper one and the lower one.
const BLOCKS: [(char, [bool; 2]); 4] =
    [('█', [true, true]), ('▀', [true, false]), ('▄', [false, true]), (' ', [false, false])];
/// Pixels a module has for the camera.
const SCALE: usize = 4;

/// A login by device code that is turned down when it asks: it ends after it has shown what there is to show.
struct Stage {
    bench: Bench,
    _endpoint: Endpoint,
}

impl Stage {
    fn new() -> Self {
        let endpoint = Endpoint::start(Options::default());
        let shown = json!({"device_code": "d-0123456789", "user_code": "WDJB-MJHT", "interval": 1, "expires_in": 600,
            "verification_uri": "https://acme.example/device", "verification_uri_complete": ADDRESS});
        endpoint.script([
            Action::json(200, shown.to_string()),
            Action::json(400, json!({"error": "access_denied"}).to_string()),
        ]);
        let bench = Bench::new();
        let database = bench.path("one-api.db");
        database::copy_fixture("one-api.db", &database);
        bench.write_config(&format!(
            "[gateway]\ndatabase = \"{}\"\n[[credential]]\nname = \"acme\"\nclient_id = \"app\"\nchannels = [1]\n\
             token_url = \"{}\"\ndevice_authorization_endpoint = \"{}\"\n",
            database.display(),
            endpoint.url(),
            endpoint.url_of("/device"),
        ));
        Self { bench, _endpoint: endpoint }
    }

    /// What a person sees whose terminal is the command's standard error.
    fn on_a_terminal(&self, no_color: &str) -> String {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let end = open(ptsname(&terminal, Vec::new()).unwrap(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut login = Command::new(PROGRAM);
        login.args(["login", "acme", "-c"]).arg(self.bench.config()).env_clear().env("NO_COLOR", no_color);
        login.stdin(Stdio::null()).stdout(Stdio::null()).stderr(end);
        let mut child = login.spawn().unwrap();
        drop(login);
        let seen = read(terminal);
        assert_eq!(child.wait().unwrap().code(), Some(1), "{seen}");
        seen
    }
}

/// Everything until nobody has the other end any more, which Linux tells as an error.
fn read(terminal: OwnedFd) -> String {
    let (mut seen, mut part) = (Vec::new(), [0; 4096]);
    let mut terminal = File::from(terminal);
    while let Ok(count @ 1..) = terminal.read(&mut part) {
        seen.extend(&part[..count]);
    }
    String::from_utf8(seen).unwrap()
}

/// The rows of modules that are drawn, lit or not; a line of text has other characters.
fn drawn(seen: &str) -> Vec<Vec<bool>> {
    let block = |character: char| BLOCKS.iter().find(|(block, _)| *block == character).map(|(_, lit)| *lit);
    let lines = seen.lines().filter_map(|line| line.chars().map(block).collect::<Option<Vec<_>>>());
    let lines = lines.filter(|line| line.len() > 20);
    lines.flat_map(|line| [0, 1].map(|row| line.iter().map(|lit| lit[row]).collect())).collect()
}

/// What a camera reads off such rows, lit on dark.
fn read_by_camera(rows: &[Vec<bool>]) -> String {
    let (width, height) = (rows.first().map_or(0, Vec::len), rows.len());
    let pixel = |x: usize, y: usize| if rows[y / SCALE][x / SCALE] { 255 } else { 0 };
    let mut image = PreparedImage::prepare_from_greyscale(width * SCALE, height * SCALE, pixel);
    let codes = image.detect_grids();
    let [code] = &codes[..] else { panic!("{} codes in {width} x {height} modules", codes.len()) };
    code.decode().unwrap().1
}

#[test]
fn a_camera_reads_the_address_with_the_code_off_the_terminal() {
    let seen = Stage::new().on_a_terminal("");
    let (on, off) = ("\x1b[97;40m", "\x1b[0m");
    let is_drawn = |line: &&str| line.contains('█');
    assert!(seen.lines().filter(is_drawn).count() > 10, "{seen}");
    for line in seen.lines().filter(is_drawn) {
        assert!(line.starts_with(on) && line.trim_end().ends_with(off), "white on black on any terminal: {line:?}");
    }
    assert_eq!(read_by_camera(&drawn(&seen.replace(on, "").replace(off, ""))), ADDRESS);
    assert!(seen.contains("https://acme.example/device") && seen.contains("WDJB-MJHT"), "it stands there too: {seen}");
}

#[test]
fn without_colours_it_is_read_off_a_dark_terminal() {
    let seen = Stage::new().on_a_terminal("1");
    assert!(!seen.contains('\x1b'), "{seen:?}");
    assert_eq!(read_by_camera(&drawn(&seen)), ADDRESS);
}

#[test]
fn nothing_is_drawn_where_there_is_no_terminal() {
    let stage = Stage::new();
    let output = stage.bench.run_command(&["login", "acme"]);
    assert!(output.stderr.contains("WDJB-MJHT"), "{output:?}");
    for text in [output.stdout, output.stderr] {
        assert!(!text.contains(['█', '▀', '▄', '\x1b']), "{text}");
        assert!(drawn(&text).is_empty());
    }
}

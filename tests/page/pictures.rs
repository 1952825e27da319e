//! The pictures in `docs/images`, made again by
//! `PICTURES=docs/images cargo test --test page -- --ignored documents && pngquant --force --ext .png docs/images/page-*.png`.
//! They are in the font that the machine calls `system-ui`; here it was Inter.

use std::path::{Path, PathBuf};

use one_api_sidecar::reason::Language;
use one_api_sidecar::telemetry::page::render;
use one_api_sidecar::telemetry::status::Status;

use crate::chromium::{Browser, Screen};
use crate::sample;

const DESKTOP: Screen = Screen { width: 1280, height: 900, dark: false, phone: false };
const DARK: Screen = Screen { dark: true, ..DESKTOP };
const PHONE: Screen = Screen { width: 390, height: 844, dark: false, phone: true };
const SMALL: Screen = Screen { width: 360, height: 740, dark: true, phone: true };

/// Where pictures go: the folder that `PICTURES` names, else one of this build.
fn folder() -> PathBuf {
    let named = std::env::var_os("PICTURES").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    named.map_or_else(|| root.join("target/pictures"), |named| root.join(named))
}

fn take(browser: &mut Browser, status: &Status, name: &str, screen: Screen, whole: bool) {
    open(browser, status, screen);
    keep(browser, name, screen, whole);
}

fn open(browser: &mut Browser, status: &Status, screen: Screen) {
    let file = tempfile::Builder::new().suffix(".html").tempfile().unwrap();
    std::fs::write(file.path(), render(status).unwrap()).unwrap();
    browser.screen(screen);
    browser.open(&format!("file://{}", file.path().display()));
}

fn keep(browser: &mut Browser, name: &str, screen: Screen, whole: bool) {
    if whole {
        let height = browser.height();
        browser.screen(Screen { height, ..screen });
    }
    let picture = browser.picture();
    std::fs::create_dir_all(folder()).unwrap();
    std::fs::write(folder().join(name), picture).unwrap();
}

#[test]
#[ignore = "makes pictures; see the top of the file"]
fn pictures_of_the_documents() {
    let Some(mut browser) = Browser::start() else { return };
    let morning = sample::morning(Language::English);
    take(&mut browser, &morning, "page-light.png", DESKTOP, true);
    take(&mut browser, &morning, "page-dark.png", DARK, true);
    take(&mut browser, &morning, "page-phone.png", PHONE, false);
}

/// What is looked at before the page is changed for good.
#[test]
#[ignore = "makes pictures; see the top of the file"]
fn pictures_of_everything_else() {
    let Some(mut browser) = Browser::start() else { return };
    let (english, chinese) = (Language::English, Language::Chinese);
    take(&mut browser, &sample::house(english), "house.png", DESKTOP, true);
    take(&mut browser, &sample::house(english), "house-dark.png", DARK, true);
    take(&mut browser, &sample::house(english), "house-phone.png", PHONE, true);
    take(&mut browser, &sample::house(chinese), "house-chinese.png", DESKTOP, true);
    take(&mut browser, &sample::house(chinese), "house-chinese-phone.png", SMALL, true);
    take(&mut browser, &sample::well(english), "well.png", DESKTOP, true);
    take(&mut browser, &sample::well(chinese), "well-phone.png", SMALL, true);
    take(&mut browser, &sample::empty(english), "empty.png", DESKTOP, true);
    take(&mut browser, &sample::crowd(1000, english), "crowd.png", DESKTOP, false);
    open(&mut browser, &sample::house(english), DESKTOP);
    browser.evaluate("document.querySelectorAll('#rows details').forEach((row) => { row.open = true; })");
    keep(&mut browser, "open.png", DESKTOP, true);
    browser.screen(SMALL);
    keep(&mut browser, "open-phone.png", SMALL, true);
    let mut narrow = sample::house(english);
    narrow.credentials.extend(sample::crowd(300, english).credentials);
    take(&mut browser, &narrow, "crowd-phone.png", SMALL, false);
}

//! Chromium without a window, spoken to in its DevTools protocol over a pipe
//! (<https://chromedevtools.github.io/devtools-protocol/>).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser that starts on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
];

/// What a page is seen on.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    pub phone: bool,
}

/// A browser with one tab; it ends when it is dropped.
pub struct Browser {
    process: Child,
    orders: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    orders_given: u64,
    /// What it told without being asked, since the last page was opened.
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one with a new, empty profile. `None`, and a word about it, where Chromium is not installed.
    pub fn start() -> Option<Self> {
        let mut version = Command::new("chromium");
        let is_there = version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        if !is_there {
            let required = std::env::var("REQUIRE_BROWSER").is_ok_and(|required| required == "1");
            assert!(!required, "REQUIRE_BROWSER=1, and there is no chromium");
            eprintln!("skipped: there is no chromium (Debian's package of that name)");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        // It reads orders from descriptor 3 and answers on 4.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec chromium "$@" 3<&0 4>&1 0</dev/null 1>/dev/null"#, "chromium"])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("TZ", "Asia/Shanghai")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (orders, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (send, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                // The test may be over.
                let _ = send.send(serde_json::from_slice(&message).expect("the protocol is JSON"));
            }
        });
        let (session, orders_given, events) = (None, 0, Vec::new());
        let mut browser = Self { process, orders, messages, session, orders_given, events, _profile: profile };
        let target = browser.order("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.order("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.order(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Gives an order and waits for its answer.
    fn order(&mut self, method: &str, parameters: &Value) -> Value {
        self.orders_given += 1;
        let mut order = json!({ "id": self.orders_given, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).unwrap();
        let id = self.orders_given;
        let answer = self.wait_for(|message| message["id"] == id);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Waits for a message; whatever else comes is kept as an event.
    fn wait_for(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left).expect("the browser answers");
            if is_it(&message) {
                return message;
            }
            self.events.push(message);
        }
    }

    /// Sets what pages are seen on.
    pub fn screen(&mut self, screen: Screen) {
        let scale = if screen.phone { 2 } else { 1 };
        let metrics = json!({
            "width": screen.width, "height": screen.height, "deviceScaleFactor": scale, "mobile": screen.phone,
        });
        self.order("Emulation.setDeviceMetricsOverride", &metrics);
        self.order("Emulation.setScrollbarsHidden", &json!({ "hidden": true }));
        let scheme = json!({ "name": "prefers-color-scheme", "value": if screen.dark { "dark" } else { "light" } });
        self.order("Emulation.setEmulatedMedia", &json!({ "features": [scheme] }));
    }

    /// Whether pages may run scripts.
    pub fn allow_scripts(&mut self, allowed: bool) {
        self.order("Emulation.setScriptExecutionDisabled", &json!({ "value": !allowed }));
    }

    /// Opens a page and waits until it is there.
    pub fn open(&mut self, address: &str) {
        self.events.clear();
        self.order("Page.navigate", &json!({ "url": address }));
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        if !self.events.iter().any(loaded) {
            let event = self.wait_for(loaded);
            self.events.push(event);
        }
    }

    /// What an expression comes to on the page, a promise's value included.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let question = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.order("Runtime.evaluate", &question);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression holds on the page.
    pub fn wait_until(&mut self, expression: &str) {
        // The page itself looks again with each change of its tree.
        let promise = format!(
            "new Promise((done) => {{
                const look = () => {{ if ({expression}) {{ watch.disconnect(); done(true); }} }};
                const watch = new MutationObserver(look);
                watch.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
                look();
            }})"
        );
        assert_eq!(self.evaluate(&promise), json!(true), "{expression}");
    }

    /// How high the page is.
    pub fn height(&mut self) -> u32 {
        let size = self.order("Page.getLayoutMetrics", &json!({}))["cssContentSize"]["height"].as_f64();
        size.unwrap_or_default().ceil() as u32
    }

    /// What is seen of the page, as a PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let picture = self.order("Page.captureScreenshot", &json!({ "format": "png" }));
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// The addresses that were asked for since the last page was opened.
    pub fn asked_for(&self) -> Vec<String> {
        let requests = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.map(|event| event["params"]["request"]["url"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What the browser found wrong with the page: violations of its policy, errors of its script.
    pub fn complaints(&self) -> Vec<String> {
        let is_one = |event: &&Value| {
            let entry = &event["params"]["entry"];
            let refused = entry["source"] == "security" || entry["text"].as_str().is_some_and(|t| t.contains("Policy"));
            event["method"] == "Runtime.exceptionThrown" || event["method"] == "Log.entryAdded" && refused
        };
        self.events.iter().filter(is_one).map(ToString::to_string).collect()
    }

    /// Whether the page opened a dialog.
    pub fn saw_dialog(&self) -> bool {
        self.events.iter().any(|event| event["method"] == "Page.javascriptDialogOpening")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It and its children end with the pipe; only what hangs has to be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

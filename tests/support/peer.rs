//! Authorization servers that nobody here wrote: `tests/peers`, run by Node.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{SOON, eventually};

/// A running server; killed when it is dropped.
pub struct Peer {
    child: Child,
    pub address: SocketAddr,
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

impl Peer {
    /// Starts one; `None`, said by name, where it is not installed. `REQUIRE_INTEROP=1` makes that a failure.
    pub fn start(name: &str, script: &str, env: &[(&str, &str)]) -> Option<Self> {
        let folder = folder(name);
        if !folder.join("node_modules").is_dir() {
            assert!(
                std::env::var_os("REQUIRE_INTEROP").is_none(),
                "{name} is not installed: npm install in {folder:?}"
            );
            eprintln!("skipped: {name} is not installed (npm install in {})", folder.display());
            return None;
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("node")
            .arg(script)
            .current_dir(folder)
            .env("PORT", address.port().to_string())
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node runs");
        let mut peer = Self { child, address };
        assert!(
            eventually(SOON * 3, || TcpStream::connect(address).is_ok()),
            "{name} listens: {:?}",
            peer.child.try_wait()
        );
        Some(peer)
    }

    /// The address of a path.
    pub fn url_of(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A person with a browser at oidc-provider; what they saw last.
    pub fn visit(arguments: &[&str]) -> String {
        let script =
            Command::new("node").arg("browser.mjs").args(arguments).current_dir(folder("oidc-provider")).output();
        let output = script.expect("node runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A wire to a server that can be cut, or hold back what is on it, as a network does that loses a host for a while.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Default)]
struct State {
    held: bool,
    ends: Vec<TcpStream>,
}

/// See the module.
pub struct Wire {
    pub address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Wire {
    /// A wire to this port on loopback.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // A server that is not there is a connection that ends at once.
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let ends = [&near, &far].map(|end| end.try_clone().unwrap());
                lock(&serving).ends.extend(ends);
                for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    let shared = Arc::clone(&serving);
                    std::thread::spawn(move || carry(from, to, &shared));
                }
            }
        });
        Self { address, shared }
    }

    /// Ends every connection.
    pub fn cut(&self) {
        for end in lock(&self.shared).ends.drain(..) {
            // It may have ended by itself.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Holds everything back, to and fro, and the ends of connections too; or lets it go on.
    pub fn hold(&self, held: bool) {
        lock(&self.shared).held = held;
        self.shared.1.notify_all();
    }
}

fn lock(shared: &(Mutex<State>, Condvar)) -> std::sync::MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn carry(mut from: TcpStream, mut to: TcpStream, shared: &(Mutex<State>, Condvar)) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes);
        drop(shared.1.wait_while(lock(shared), |state| state.held));
        match read {
            Ok(count) if count > 0 && to.write_all(&bytes[..count]).is_ok() => {}
            // Either side went away, which is its right.
            _ => {
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

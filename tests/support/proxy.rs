//! Proxies that write down where they were asked to go: SOCKS5 and CONNECT.
//!
//! (For plain http, any HTTP server is a proxy: the request's target is then a whole address.)

use std::future::Future;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Serves every connection on a thread of its own, until the sender is dropped.
pub fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, oneshot::Sender<()>)
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    listen_at(SocketAddr::from(([127, 0, 0, 1], 0)), serve)
}

/// [`listen`] at this address.
pub fn listen_at<F>(
    at: SocketAddr,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, oneshot::Sender<()>)
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let listener = std::net::TcpListener::bind(at).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let accept = async {
                while let Ok((stream, _)) = listener.accept().await {
                    // An error is one side going away, which is its right.
                    tokio::spawn(serve(stream));
                }
            };
            tokio::select! {
                () = accept => {}
                _ = stopped => {} // dropped; what still runs goes down with the runtime
            }
        });
    });
    (address, stop)
}

/// A proxy for whole connections.
pub struct Tunnel {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _stop: oneshot::Sender<()>,
}

impl Tunnel {
    /// RFC 1928, without authentication.
    pub fn socks5() -> Self {
        Self::start(socks5)
    }

    /// RFC 9110 §9.3.6.
    pub fn connect() -> Self {
        Self::start(connect)
    }

    fn start<F>(ask: impl Fn(TcpStream) -> F + Send + Copy + 'static) -> Self
    where
        F: Future<Output = Result<(TcpStream, String)>> + Send + 'static,
    {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&asked);
        let (address, stop) = listen(move |stream| {
            let (notes, asking) = (Arc::clone(&notes), ask(stream));
            async move {
                let (mut client, target) = asking.await?;
                notes.lock().unwrap_or_else(PoisonError::into_inner).push(target.clone());
                let mut server = TcpStream::connect(target).await?;
                copy_bidirectional(&mut client, &mut server).await.map(drop)
            }
        });
        Self { address, asked, _stop: stop }
    }

    /// Where it was asked to go, host and port.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn socks5(mut client: TcpStream) -> Result<(TcpStream, String)> {
    let [_, methods] = read(&mut client).await?;
    client.read_exact(&mut vec![0; methods.into()]).await?;
    client.write_all(&[5, 0]).await?;
    let [_, _, _, kind] = read(&mut client).await?;
    let host = match kind {
        1 => std::net::Ipv4Addr::from(read::<4>(&mut client).await?).to_string(),
        3 => {
            let [length] = read(&mut client).await?;
            let mut name = vec![0; length.into()];
            client.read_exact(&mut name).await?;
            String::from_utf8_lossy(&name).into_owned()
        }
        _ => return Err(Error::other("an address of another kind")),
    };
    let port = u16::from_be_bytes(read(&mut client).await?);
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok((client, format!("{host}:{port}")))
}

async fn connect(mut client: TcpStream) -> Result<(TcpStream, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let target = target.ok_or_else(|| Error::other("no CONNECT"))?.to_owned();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    Ok((client, target))
}

async fn read<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

//! Accepts connections and shakes hands with many at once: one that stalls holds up nobody.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::certificate;
use super::tls::Tls;
use crate::identity::Peer;

/// Shaken hands that the server has not taken yet.
const READY_AHEAD: usize = 64;
/// After an error of the listener itself, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// How many connections of one face are open, and how long each may take to get there.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// More wait in the system's queue.
    pub open: usize,
    /// Until its first byte, or the end of its TLS handshake.
    pub handshake: Duration,
}

/// An accepted connection; its place among the open ones goes with it.
pub struct Connection {
    io: Io,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connections until `stop`; with `tls` each has shaken hands.
pub fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    limits: ConnectionLimits,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(READY_AHEAD);
    tokio::spawn(accept_all(listener, tls, limits, stop, sender));
    ReceiverStream::new(receiver)
}

async fn accept_all(
    listener: TcpListener,
    tls: Option<Tls>,
    limits: ConnectionLimits,
    stop: CancellationToken,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    let places = Arc::new(Semaphore::new(limits.open));
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => return,
            () = sender.closed() => return,
            next = next => next,
        };
        let (Ok(place), Ok((socket, addr))) = (place, accepted) else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Without it small answers wait 40 ms for the client's delayed acknowledgement.
        let _unchanged = socket.set_nodelay(true);
        let (tls, sender) = (tls.clone(), sender.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(limits.handshake, shake_hands(socket, addr, tls, place)).await {
                Ok(Ok(connection)) => {
                    let _server_gone = sender.send(Ok(connection)).await;
                }
                Ok(Err(error)) => tracing::debug!(%addr, %error, "no handshake"),
                Err(_) => tracing::debug!(%addr, "the handshake took too long"),
            }
        });
    }
}

async fn shake_hands(
    socket: TcpStream,
    addr: SocketAddr,
    tls: Option<Tls>,
    place: OwnedSemaphorePermit,
) -> io::Result<Connection> {
    let mut peer = Peer {
        addr: Some(addr),
        names: Vec::new(),
    };
    let io = match tls {
        None => {
            // Clients speak first: one that says nothing would hold its place for good.
            socket.peek(&mut [0]).await?;
            Io::Plain(socket)
        }
        Some(tls) => {
            let stream = TlsAcceptor::from(tls.config()).accept(socket).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            peer.names = shown.map(certificate::names).unwrap_or_default();
            Io::Tls(Box::new(stream))
        }
    };
    Ok(Connection {
        io,
        peer,
        _place: place,
    })
}

impl Connection {
    pub fn addr(&self) -> Option<SocketAddr> {
        self.peer.addr
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

//! Accepts connections and shakes hands with many at once: one that stalls holds up nobody, and one on which nobody logs in is closed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
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
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Longer heads are judged by whoever reads them.
const LONGEST_HEAD: usize = 4_096;

/// How many connections of one face are open, and how long each may take to get there.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// More wait in the system's queue.
    pub open: usize,
    /// Until it has shaken hands over TLS and begun to speak.
    pub handshake: Duration,
    /// And until a call on it was let in; None: any call is.
    pub log_in: Option<Duration>,
    pub opening: Opening,
}

/// What a client says first, before its connection is handed on. What says something else is handed on too, to be told so.
#[derive(Debug, Clone, Copy)]
pub enum Opening {
    /// HTTP/2's preface. From there on the server's pings find out who has gone silent.
    Http2,
    /// The head of a request in HTTP/1.
    Http1,
}

impl Opening {
    fn is_whole(self, said: &[u8]) -> bool {
        match self {
            Opening::Http2 => said.len() >= PREFACE.len() || !PREFACE.starts_with(said),
            Opening::Http1 => said.len() >= LONGEST_HEAD || said.windows(END_OF_HEAD.len()).any(|w| w == END_OF_HEAD),
        }
    }
}

/// An accepted connection; its place among the open ones goes with it.
pub struct Connection {
    io: Io,
    /// Read already, and to be read first.
    said: Bytes,
    peer: Peer,
    /// Until a call was let in.
    log_in_by: Option<Pin<Box<Sleep>>>,
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
            match tokio::time::timeout(limits.handshake, shake_hands(socket, addr, tls, limits, place)).await {
                Ok(Ok(connection)) => {
                    let _server_gone = sender.send(Ok(connection)).await;
                }
                Ok(Err(error)) => tracing::debug!(%addr, %error, "no handshake"),
                Err(_) => tracing::debug!(%addr, "the handshake took too long"),
            }
        });
    }
}

/// Clients speak first: one that says nothing, or stops in the middle, would hold its place for good.
async fn shake_hands(
    mut socket: TcpStream,
    addr: SocketAddr,
    tls: Option<Tls>,
    limits: ConnectionLimits,
    place: OwnedSemaphorePermit,
) -> io::Result<Connection> {
    let mut peer = Peer {
        addr: Some(addr),
        ..Default::default()
    };
    let (io, said) = match tls {
        None => {
            let said = listen(&mut socket, limits.opening).await?;
            (Io::Plain(socket), said)
        }
        Some(tls) => {
            let mut stream = TlsAcceptor::from(tls.config()).accept(socket).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            peer.names = shown.map(certificate::names).unwrap_or_default();
            let said = listen(&mut stream, limits.opening).await?;
            (Io::Tls(Box::new(stream)), said)
        }
    };
    Ok(Connection {
        io,
        said,
        peer,
        log_in_by: limits.log_in.map(|within| Box::pin(tokio::time::sleep(within))),
        _place: place,
    })
}

async fn listen(io: &mut (impl AsyncRead + Unpin), opening: Opening) -> io::Result<Bytes> {
    let mut said = BytesMut::new();
    while said.is_empty() || !opening.is_whole(&said) {
        if io.read_buf(&mut said).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(said.freeze())
}

impl Connection {
    /// An error once the time to log in is over and no call was let in.
    fn check_log_in(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(log_in_by) = &mut self.log_in_by else {
            return Ok(());
        };
        if self.peer.let_in.load(Ordering::Relaxed) {
            self.log_in_by = None;
        } else if log_in_by.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
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
        if let Err(late) = self.check_log_in(cx) {
            return Poll::Ready(Err(late));
        }
        if self.said.has_remaining() {
            let first = self.said.len().min(buf.remaining());
            buf.put_slice(&self.said.split_to(first));
            return Poll::Ready(Ok(()));
        }
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

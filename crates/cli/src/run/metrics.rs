//! `--metrics`: one page over plain HTTP, for Prometheus.
//!
//! Invariant: a caller costs at most one short task and a small buffer; at most [`CALLERS_MAX`] are served at once, and
//! none can keep the run from anything.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Callers that are served at once.
const CALLERS_MAX: usize = 16;
/// The longest request.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// How long a caller may take.
const CALL: Duration = Duration::from_secs(5);

/// The listener, and requests for the page.
pub(super) struct Server {
    address: SocketAddr,
    requests: mpsc::Receiver<Request>,
    /// Ends with the value.
    _listener: JoinSet<()>,
}

/// A caller that waits for the page.
pub(super) struct Request {
    reply: oneshot::Sender<String>,
}

impl Request {
    /// Gives the caller the page; one that has left does not need it.
    pub(super) fn answer(self, page: String) {
        drop(self.reply.send(page));
    }
}

impl Server {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens, if an address was given.
pub(super) async fn serve(address: Option<SocketAddr>) -> anyhow::Result<Option<Server>> {
    let Some(address) = address else { return Ok(None) };
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("listen for metrics on {address}"))?;
    let address = listener.local_addr().context("find the address for metrics")?;
    let (sender, requests) = mpsc::channel(CALLERS_MAX);
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, sender));
    Ok(Some(Server { address, requests, _listener: tasks }))
}

/// Waits for the next caller; for ever when nobody listens.
pub(super) async fn next(server: &mut Option<Server>) -> Request {
    if let Some(server) = server
        && let Some(request) = server.requests.recv().await
    {
        return request;
    }
    std::future::pending().await
}

async fn accept(listener: TcpListener, requests: mpsc::Sender<Request>) {
    let mut calls = JoinSet::new();
    loop {
        let is_full = calls.len() >= CALLERS_MAX;
        tokio::select! {
            accepted = listener.accept(), if !is_full => match accepted {
                Ok((stream, _)) => drop(calls.spawn(tokio::time::timeout(CALL, call(stream, requests.clone())))),
                Err(error) => tracing::warn!(%error, "a caller for metrics could not be taken"),
            },
            Some(ended) = calls.join_next() => match ended {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::debug!(%error, "a caller for metrics left"),
                Ok(Err(_)) => tracing::debug!("a caller for metrics took too long"),
                Err(error) => tracing::warn!(%error, "a call for metrics failed"),
            },
        }
    }
}

/// One request and its answer.
async fn call(mut stream: TcpStream, requests: mpsc::Sender<Request>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        let size = stream.read(&mut bytes).await?;
        if size == 0 || head.len() + size > REQUEST_BYTES_MAX {
            return Ok(());
        }
        head.extend_from_slice(&bytes[..size]);
    }
    let (status, page) = if is_for_metrics(&head) {
        let (reply, page) = oneshot::channel();
        let asked = requests.send(Request { reply }).await.is_ok();
        match (asked, page.await) {
            (true, Ok(page)) => ("200 OK", page),
            _ => ("503 Service Unavailable", "the run is stopping\n".to_owned()),
        }
    } else {
        ("404 Not Found", "metrics are at /metrics\n".to_owned())
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn is_for_metrics(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    method == Some(b"GET") && path == b"/metrics"
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::{next, serve};

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_page_is_served_and_nothing_else() {
        let mut server = serve(Some("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let address = server.as_ref().unwrap().address();
        let asking = ask(address, "GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        let answering = async { next(&mut server).await.answer("a 1\n".to_owned()) };
        let (page, ()) = tokio::join!(asking, answering);
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\na 1\n"), "{page}");
        let wrong = ask(address, "GET / HTTP/1.1\r\n\r\n").await;
        assert!(wrong.starts_with("HTTP/1.1 404 "), "{wrong}");
    }
}

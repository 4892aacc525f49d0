//! An API server of one test: it gives the answers that the test has written, one after the other, and remembers what it
//! was asked. Invariant: the last answer is given again and again, so that whoever asks too often is caught by the count.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::client::Client;

/// The longest question.
const BYTES_MAX: usize = 64 * 1024;

/// What is answered: the code, how many seconds to wait before asking again if that is said, and the body.
pub(super) type Answer = (u16, Option<u32>, Value);

/// See the head of this file.
pub(super) struct Scripted {
    pub(super) client: Client,
    asked: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl Scripted {
    pub(super) async fn new(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut server = JoinSet::new();
        let log = Arc::clone(&asked);
        server.spawn(async move {
            for index in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = answers.get(index).or(answers.last()).unwrap();
                let question = serve(stream, answer).await;
                log.lock().unwrap_or_else(PoisonError::into_inner).push(question);
            }
        });
        Self { client, asked, _server: server }
    }

    /// Method and path of every question so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one question; gives its first line.
async fn serve(mut stream: TcpStream, (code, again, body): &Answer) -> String {
    let mut bytes = Vec::new();
    while !is_whole(&bytes) {
        assert!(bytes.len() < BYTES_MAX, "the question does not end");
        let read = stream.read_buf(&mut bytes).await.unwrap();
        assert!(read > 0, "the question is cut");
    }
    let question = String::from_utf8_lossy(&bytes);
    let line = question.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let body = body.to_string();
    let again = again.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {code} X\r\n{again}Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    line
}

/// Whether a question with its body is there.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    body.len() >= length.unwrap_or(0)
}

//! Answers of Prometheus servers to the queries of an analysis, asked in the background while a rollout is judged by
//! them. Invariant: an answer that is not fresh counts as none, and a server that does not answer holds nobody up.

use std::collections::BTreeMap;
use std::time::Duration;

use api::resolve::PipelineSettings;
use api::spec::update::PrometheusQuery;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use model::door::chain;
use plan::Plan;
use plan::seen::Seen;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::show::is_rolling;

/// How often a query is asked.
const EVERY: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(4);
/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(15);
/// The largest answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Vertex and name of a query.
type Key = (String, String);

/// Why there is no number.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("use the address {0}: it is not http://HOST:PORT")]
    Address(String),
    #[error("connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("ask {address}")]
    Http {
        address: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("understand the answer of {address}: {why}")]
    Answer { address: String, why: String },
    #[error("get an answer from {address} within {} s", ANSWER.as_secs())]
    Slow { address: String },
}

/// The queries of one object.
#[derive(Default)]
pub(super) struct Queries {
    asking: JoinSet<(Key, Result<f64, Error>)>,
    asked: BTreeMap<Key, Instant>,
    answers: BTreeMap<Key, (Instant, f64)>,
}

impl Queries {
    /// Asks what is due, and puts what is known into a look.
    pub(super) fn turn(&mut self, settings: &PipelineSettings, plan: Option<&Plan>, seen: &mut Seen) {
        let now = Instant::now();
        while let Some(joined) = self.asking.try_join_next() {
            match joined {
                Ok((key, Ok(number))) => {
                    self.answers.insert(key, (now, number));
                }
                Ok(((vertex, query), Err(error))) => {
                    let error = chain(&error);
                    tracing::warn!(vertex, query, error, "a query of the analysis has no answer");
                }
                Err(error) => tracing::error!(%error, "a query ended because of a defect"),
            }
        }
        for vertex in &settings.vertices {
            let status = plan.and_then(|plan| plan.vertices.get(&vertex.name));
            let queries = &vertex.update.analysis.prometheus;
            if !status.is_some_and(is_rolling) || queries.is_empty() {
                self.answers.retain(|(about, _), _| *about != vertex.name);
                continue;
            }
            for query in queries {
                self.ask(&vertex.name, query, now);
            }
            let answer = |query: &PrometheusQuery| {
                let found = self.answers.get(&(vertex.name.clone(), query.name.clone()));
                let fresh = found.filter(|(at, _)| now.duration_since(*at) < FRESH);
                (query.name.clone(), fresh.map(|(_, number)| *number))
            };
            if let Some(looked) = seen.vertices.get_mut(&vertex.name) {
                looked.queries = queries.iter().map(answer).collect();
            }
        }
    }

    fn ask(&mut self, vertex: &str, query: &PrometheusQuery, now: Instant) {
        let key = (vertex.to_owned(), query.name.clone());
        if self.asked.get(&key).is_some_and(|asked| now.duration_since(*asked) < EVERY) {
            return;
        }
        self.asked.insert(key.clone(), now);
        let query = query.clone();
        self.asking.spawn(async move {
            let slow = Error::Slow { address: query.address.clone() };
            let answer = tokio::time::timeout(ANSWER, fetch(&query.address, &query.query)).await;
            (key, answer.unwrap_or(Err(slow)))
        });
    }
}

/// The number that an expression has at this moment.
async fn fetch(address: &str, expression: &str) -> Result<f64, Error> {
    let wrong = || Error::Address(address.to_owned());
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let port = uri.port_u16().unwrap_or(80);
    let connect = |source| Error::Connect { address: address.to_owned(), source };
    let stream = TcpStream::connect((host, port)).await.map_err(connect)?;
    let http = |source: Box<dyn std::error::Error + Send + Sync>| Error::Http {
        address: address.to_owned(),
        source,
    };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| http(error.into()))?;
    let path = format!("{}/api/v1/query?query={}", uri.path().trim_end_matches('/'), escaped(expression));
    let request =
        Request::get(path).header(header::HOST, format!("{host}:{port}")).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| http(error.into()))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| http(error.into()))?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(&http)?;
        Ok(body.to_bytes())
    };
    tokio::pin!(exchange);
    let bytes = tokio::select! {
        bytes = &mut exchange => bytes?,
        // A server that closes behind its answer has given it all the same.
        ended = connection => {
            ended.map_err(|error| http(error.into()))?;
            exchange.await?
        }
    };
    number(&bytes).map_err(|why| Error::Answer { address: address.to_owned(), why })
}

/// The one number of an answer: a scalar, or a vector of one sample.
fn number(bytes: &[u8]) -> Result<f64, String> {
    let answer: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if answer["status"] != "success" {
        return Err(answer["error"].as_str().unwrap_or("it is no success").to_owned());
    }
    let result = &answer["data"]["result"];
    let text = match answer["data"]["resultType"].as_str() {
        Some("scalar") => &result[1],
        Some("vector") => match result.as_array().map(Vec::as_slice) {
            Some([one]) => &one["value"][1],
            several => return Err(format!("it has {} samples and needs one", several.map_or(0, <[_]>::len))),
        },
        other => return Err(format!("its type is {}", other.unwrap_or("not said"))),
    };
    let text = text.as_str().ok_or("it has no value")?;
    text.parse().map_err(|_| format!("{text} is no number"))
}

/// An expression as it stands in a query of a URL.
fn escaped(expression: &str) -> String {
    let mut text = String::with_capacity(expression.len());
    for byte in expression.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            write!(text, "%{byte:02X}").expect("a string takes whatever is written to it");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn answers_of_one_number_count_and_others_say_why_not() {
        let answer = |data: &str| number(format!(r#"{{"status":"success","data":{data}}}"#).as_bytes());
        assert_eq!(answer(r#"{"resultType":"scalar","result":[1,"0.5"]}"#), Ok(0.5));
        assert_eq!(answer(r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"3"]}]}"#), Ok(3.0));
        let none = answer(r#"{"resultType":"vector","result":[]}"#);
        assert_eq!(none, Err("it has 0 samples and needs one".to_owned()));
        assert_eq!(number(br#"{"status":"error","error":"bad query"}"#), Err("bad query".to_owned()));
    }

    #[tokio::test]
    async fn a_server_is_asked_with_the_expression_escaped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/prom/", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let size = stream.read(&mut request).await.unwrap();
            let body = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..size]).into_owned()
        };
        let (request, number) = tokio::join!(serve, fetch(&address, "a{b=\"c d\"}"));
        assert_eq!(number.unwrap().to_string(), "7");
        assert!(
            request.starts_with("GET /prom/api/v1/query?query=a%7Bb%3D%22c%20d%22%7D HTTP/1.1"),
            "{request}"
        );
    }
}

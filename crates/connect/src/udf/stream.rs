//! Opening a stream with user code: requests go in by the handful, and hands are shaken before anything else.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::session::trouble::Trouble;

/// User code that takes a call has to shake hands within this.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// How long the other side may take to say why it stopped listening, or to end a stream we are done with.
pub(crate) const PARTING_WAIT: Duration = Duration::from_secs(1);

/// The requests of one stream, handed over in handfuls so that many go into one write.
pub(crate) struct Requests<R> {
    incoming: mpsc::Receiver<Vec<R>>,
    current: std::vec::IntoIter<R>,
}

impl<R> Unpin for Requests<R> {}

impl<R> futures::Stream for Requests<R> {
    type Item = R;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<R>> {
        loop {
            if let Some(request) = self.current.next() {
                return Poll::Ready(Some(request));
            }
            match self.incoming.poll_recv(context) {
                Poll::Ready(Some(handful)) => self.current = handful.into_iter(),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// An open stream.
pub(crate) struct Line<Q, P> {
    pub requests: mpsc::Sender<Vec<Q>>,
    pub responses: Streaming<P>,
}

/// A stream being opened: the call returns with the first response.
pub(crate) type Opening<P> = BoxFuture<'static, Result<Streaming<P>, Status>>;

/// Opens a stream and shakes hands. At most `handfuls` wait to be sent.
pub(crate) async fn shake_hands<Q, P>(
    handfuls: usize,
    handshake: Q,
    open: impl FnOnce(Requests<Q>) -> Opening<P>,
    is_handshake: impl FnOnce(&P) -> bool,
) -> Result<Line<Q, P>, Trouble> {
    // One more, for the handshake: servers send nothing, not even headers, before they have read it.
    let (requests, incoming) = mpsc::channel(handfuls + 1);
    let opening = open(Requests { incoming, current: vec![handshake].into_iter() });
    let opening = async {
        let mut responses = opening.await?;
        let first = responses.message().await?;
        Ok::<_, Status>((responses, first))
    };
    let (responses, first) = match tokio::time::timeout(HANDSHAKE_WAIT, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return Err(Trouble::from_status(&status)),
        Err(_) => return Err(Trouble::protocol("no handshake came in time")),
    };
    match first {
        Some(response) if is_handshake(&response) => Ok(Line { requests, responses }),
        Some(_) => Err(Trouble::protocol("its first response is not a handshake")),
        None => Err(Trouble::Left),
    }
}

impl<Q, P> Line<Q, P> {
    /// Ends the stream in peace: nothing more is sent, and the other side may end it too.
    pub(crate) async fn part(self) {
        let Self { requests, mut responses } = self;
        drop(requests);
        let ending = async { while let Ok(Some(_)) = responses.message().await {} };
        if tokio::time::timeout(PARTING_WAIT, ending).await.is_err() {
            tracing::debug!("user code did not end its stream");
        }
    }
}

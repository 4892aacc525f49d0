//! What the HTTP sources of one process share: of each vertex the desk and its queue, and the ports.
//!
//! A source that takes over from another one is opened beside it and reads from the same queue, so that no caller is
//! turned away and no connection ends because of it. Invariant: a port is open for exactly as long as a source that
//! asked for it is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use model::Name;
use tokio::sync::{Mutex, MutexGuard, mpsc};

use super::desk::{Desk, Posted, Seat};
use super::serve::{Port, Protocol};
use super::{Error, Token};

/// What HTTP sources of one process share; clones share it too.
#[derive(Clone, Debug, Default)]
pub struct Listeners(Arc<Mutex<Shared>>);

/// Entries whose last source has closed count for nothing and go when the next source opens.
#[derive(Debug, Default)]
pub(super) struct Shared {
    queues: HashMap<Name, Weak<Queue>>,
    ports: HashMap<(SocketAddr, Protocol), Weak<Port>>,
}

impl Listeners {
    pub(super) async fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().await
    }
}

impl Shared {
    /// A seat at the desk of a vertex.
    pub(super) fn join(&mut self, vertex: &Name, token: Option<Token>) -> (Arc<Queue>, Seat) {
        self.queues.retain(|_, queue| queue.strong_count() > 0);
        if let Some(queue) = self.queues.get(vertex).and_then(Weak::upgrade)
            && let Some(seat) = queue.desk.join(token.clone())
        {
            return (queue, seat);
        }
        let (desk, posted) = Desk::new(vertex.clone());
        let queue = Arc::new(Queue { desk: Arc::new(desk), posted: Mutex::new(posted) });
        self.queues.insert(vertex.clone(), Arc::downgrade(&queue));
        let seat = queue.desk.join(token).expect("nobody has left a desk that nobody knew of");
        (queue, seat)
    }

    /// The port at an address, opened unless the same desk has it already.
    pub(super) async fn port(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
        desk: &Arc<Desk>,
    ) -> Result<Arc<Port>, Error> {
        self.ports.retain(|_, port| port.strong_count() > 0);
        if let Some(port) = self.ports.get(&(address, protocol)).and_then(Weak::upgrade)
            && Arc::ptr_eq(&port.desk, desk)
        {
            return Ok(port);
        }
        let port = Arc::new(Port::open(address, protocol, desk).await?);
        self.ports.insert((address, protocol), Arc::downgrade(&port));
        Ok(port)
    }
}

/// What was posted and is not read yet; every source of the vertex reads here.
pub(super) struct Queue {
    desk: Arc<Desk>,
    posted: Mutex<mpsc::Receiver<Posted>>,
}

impl Queue {
    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Waits for one message and takes what is there by then. Dropping the future takes nothing.
    pub(super) async fn receive(&self, taken: &mut Vec<Posted>, messages_max: usize) -> usize {
        self.posted.lock().await.recv_many(taken, messages_max).await
    }
}

impl Drop for Queue {
    /// Nobody reads any more: requests in the queue are told so instead of waiting for the last source to close.
    fn drop(&mut self) {
        let posted = self.posted.get_mut();
        posted.close();
        while let Ok(posted) = posted.try_recv() {
            self.desk.waiting.leave(&posted.id);
        }
    }
}

//! Whether the user containers of a worker answer, asked from beside the doors that carry messages. Invariant: a container
//! counts as ready only after it has answered, and as lost only after it has not answered several times in a row.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use connect::udf::Component;
use connect::udf::probe::{Found, Vigil};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is known of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Starting,
    Ready,
    Lost(String),
}

type Table = BTreeMap<&'static str, Known>;

/// What is known of all user containers.
#[derive(Clone)]
pub(super) struct UserCode {
    known: watch::Receiver<Table>,
}

impl UserCode {
    /// Watches containers, each with the directory of its socket, until the tasks end.
    pub(super) fn watch(containers: Vec<(Component, PathBuf)>, tasks: &mut JoinSet<()>) -> Self {
        let names = containers.iter().map(|(component, _)| (component.container(), Known::Starting));
        let (tell, known) = watch::channel(names.collect::<Table>());
        let tell = Arc::new(tell);
        for (component, directory) in containers {
            let tell = tell.clone();
            tasks.spawn(async move {
                let mut vigil = Vigil::new(component, directory);
                loop {
                    let found = match vigil.next().await {
                        Found::Ready => Known::Ready,
                        Found::Lost(why) => Known::Lost(why),
                    };
                    tell.send_modify(|table| drop(table.insert(component.container(), found)));
                }
            });
        }
        Self { known }
    }

    /// Whether every container answers; a sentence about one that does not.
    pub(super) fn answers(&self) -> Result<(), String> {
        for (container, known) in &*self.known.borrow() {
            match known {
                Known::Ready => {}
                Known::Starting => return Err(format!("{container} has not answered yet")),
                Known::Lost(why) => return Err(format!("{container} does not answer: failed to {why}")),
            }
        }
        Ok(())
    }

    /// Waits until something is known that was not when this was looked at last; for ever when nothing can change.
    pub(super) async fn changed(&mut self) {
        if self.known.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

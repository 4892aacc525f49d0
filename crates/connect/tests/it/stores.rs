//! Every store against the suite of its door.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::conformance::store::Bench;
use model::door::store::Store;

mod opening;
mod served;
mod server;
mod wait;

mod memory {
    use tidegate_connect::open::{Context, open_store};

    use super::*;

    /// One process, whose clock is turned by hand.
    struct Process(Context);

    #[async_trait]
    impl Bench for Process {
        async fn seat(&mut self, member: &str) -> Arc<dyn Store> {
            let (vertex, replica) = member.split_once('-').unwrap();
            let context =
                Context { vertex: vertex.into(), replica: replica.parse().unwrap(), ..self.0.clone() };
            open_store(&super::opening::limit(serde_json::Value::Null), "pool", &context).unwrap()
        }

        async fn pass(&mut self, time: Duration) {
            tokio::time::advance(time).await;
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "the suite hands its cases over by value")]
    fn run(case: impl AsyncFn(&mut dyn Bench), _: &str) {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(case(&mut Process(crate::open::context())));
    }

    model::store_conformance! { run }
}

//! What holds for any sink.

use super::super::wait::within;
use super::Bench;
use super::kit::{close, messages, write};

/// Batches of all sizes are taken, with one outcome for each message.
pub async fn each_message_has_an_outcome(bench: &mut dyn Bench) {
    let mut sink = within("open", bench.open()).await;
    let mut first = 0;
    for count in [1, 2, 500, 1, 37] {
        write(&mut *sink, messages(first, count)).await;
        first += count;
    }
    assert!(sink.ready().await, "a sink that has just taken messages is ready");
    close(&mut *sink).await;
}

/// A batch without messages has no outcomes and no error.
pub async fn an_empty_batch_is_written(bench: &mut dyn Bench) {
    let mut sink = within("open", bench.open()).await;
    write(&mut *sink, Vec::new()).await;
    write(&mut *sink, messages(0, 1)).await;
    write(&mut *sink, Vec::new()).await;
    close(&mut *sink).await;
}

/// A sink closes, whether or not anything was written, and another life takes messages again.
pub async fn a_sink_closes_and_opens_again(bench: &mut dyn Bench) {
    for life in 0..3 {
        let mut sink = within("open", bench.open()).await;
        write(&mut *sink, messages(life * 10, life)).await;
        close(&mut *sink).await;
    }
}

//! Reading: waking up, bounds, and exactly once per claim.

use std::pin::pin;

use super::Bench;
use super::kit::{
    Crew, Owner, PLENTY, body, body_of_size, level, numbers, output, polled, slot, slot_unit, source, world,
};
use crate::Slot;

/// A reader that waits gets the frame when it is stored, and finds it in the levels.
pub async fn a_read_wakes_up_when_a_frame_arrives(bench: &dyn Bench) {
    const FRAMES: u64 = 150;
    let world = world();
    let buffer = bench.open(&world).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let mut crew = Crew::default();
    let (looking, map) = (buffer.clone(), world[1].clone());
    crew.spawn(async move {
        for number in 0..FRAMES {
            let frames = reader.read_frames(1).await;
            let level = level(&looking, &map, slot(0, 0)).await;
            assert_eq!(
                (level.last, level.messages),
                (frames[0].sequence, number + 1),
                "what is read is counted"
            );
            assert_eq!(numbers(&frames[0], slot(0, 0)), [number]);
            sender.send(frames[0].sequence).await.expect("the case waits for it");
        }
    });
    for number in 0..FRAMES {
        let stored = writer.write(vec![output("map", slot(0, 0), body([number]))]).await;
        let read = super::kit::within("the frame is read", receiver.recv()).await;
        assert_eq!(read, Some(stored[0]));
    }
    crew.join("the reader ends").await;
}

/// A read gives about as much as it was asked for, and one frame however little that is.
pub async fn a_read_is_bounded(bench: &dyn Bench) {
    const FRAME_BYTES: usize = 1000;
    const ASKED_BYTES: usize = 3 * FRAME_BYTES;
    let buffer = bench.open(&world()).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    for _ in 0..20 {
        writer.write(vec![output("map", slot(0, 0), body_of_size(FRAME_BYTES))]).await;
    }
    assert_eq!(reader.read(1).await.len(), 1);
    let mut left = 19;
    while left > 0 {
        let frames = reader.read(ASKED_BYTES).await;
        let bytes: usize = frames.iter().map(|stored| stored.frame.payload.len()).sum();
        assert!(bytes <= ASKED_BYTES + FRAME_BYTES, "{bytes} bytes given of {ASKED_BYTES} asked for");
        left -= frames.len();
    }
    reader.expect_nothing().await;
}

/// Reads that are given up at any point lose nothing and repeat nothing.
pub async fn abandoned_reads_lose_nothing(bench: &dyn Bench) {
    const FRAMES: u64 = 300;
    let buffer = bench.open(&world()).await;
    let mut reader = Owner::claim(&buffer, &slot_unit("map", slot(0, 0)), 1, 1).await;
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut crew = Crew::default();
    crew.spawn(async move {
        for number in 0..FRAMES {
            writer.write(vec![output("map", slot(0, 0), body([number]))]).await;
        }
    });
    let mut rng = fastrand::Rng::with_seed(5);
    let mut seen = Vec::new();
    let all = async {
        while seen.len() < FRAMES as usize {
            let read = pin!(reader.try_read(rng.usize(1..400)));
            let frames = match polled(read, rng.u32(1..6)).await {
                None => continue,
                Some(Ok(frames)) => frames,
                Some(Err(error)) => panic!("read: {}", error.chain()),
            };
            seen.extend(frames.iter().flat_map(|frame| numbers(frame, slot(0, 0))));
        }
    };
    super::kit::within("all frames are read", all).await;
    assert!(seen.iter().copied().eq(0..FRAMES), "each once and in order: {seen:?}");
    crew.join("the writer ends").await;
}

/// Each claim reads from the first frame that the progress does not cover, each frame once.
pub async fn a_claim_reads_what_its_progress_does_not_cover(bench: &dyn Bench) {
    let mut buffer = bench.open(&world()).await;
    let unit = slot_unit("map", slot(0, 0));
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    let mut sequences = Vec::new();
    for number in 0..10 {
        sequences.extend(writer.write(vec![output("map", slot(0, 0), body([number]))]).await);
    }
    drop(writer);
    for epoch in 1..=10 {
        if epoch % 4 == 0 {
            drop(buffer);
            buffer = bench.restart().await;
        }
        let mut reader = Owner::claim(&buffer, &unit, epoch, epoch).await;
        let left = &sequences[epoch as usize - 1..];
        let frames = reader.read_frames(left.len()).await;
        assert!(frames.iter().map(|frame| &frame.sequence).eq(left), "what is left is read, in order");
        reader.expect_nothing().await;
        reader.settle_through(left[0]).await;
    }
    let mut reader = Owner::claim(&buffer, &unit, 11, 11).await;
    reader.expect_nothing().await;
}

/// A reader sees the frames of its own slot and no others.
pub async fn slots_are_read_apart(bench: &dyn Bench) {
    let buffer = bench.open(&world()).await;
    let slots = [slot(0, 0), slot(0, 1), slot(1, 0), slot(1, 1), Slot::RETRY];
    let mut writer = Owner::claim(&buffer, &source("in", 0), 1, 1).await;
    for (number, slot) in slots.into_iter().enumerate() {
        writer
            .write(vec![output("map", slot, body([number as u64])), output("out", slot, body([100]))])
            .await;
    }
    for (number, slot) in slots.into_iter().enumerate() {
        let mut reader = Owner::claim(&buffer, &slot_unit("map", slot), 1, 1).await;
        let frames = reader.read(PLENTY).await;
        assert_eq!(frames.len(), 1);
        assert_eq!(numbers(&frames[0], slot), [number as u64]);
        reader.expect_nothing().await;
    }
}

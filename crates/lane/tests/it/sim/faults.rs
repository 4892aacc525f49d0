//! How bad the broker and the way to it are. Pure numbers; who draws is the cluster.

use std::time::Duration;

/// Chances, each "one in so many"; 0 for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Faults {
    /// The longest that a request or an answer usually takes on its way.
    pub(crate) latency_max: Duration,
    /// A request or an answer takes up to [`Faults::SLOW`].
    pub(crate) slow: u32,
    /// A request never arrives; the answer is that there is none.
    pub(crate) lost: u32,
    /// A request is done, and nobody hears of it.
    pub(crate) unanswered: u32,
    /// A request is done only after it was said that there is no answer.
    pub(crate) late: u32,
    /// A request is turned away, not done.
    pub(crate) unavailable: u32,
    /// What a consumer is to be given is lost on the way.
    pub(crate) skipped: u32,
    /// A consumer is cut in the middle.
    pub(crate) cut: u32,
    /// A consumer is given nothing any more.
    pub(crate) dead: u32,
    /// How far a consumer may be behind the leader.
    pub(crate) lag_max: Duration,
}

impl Faults {
    /// Everything at once and always done.
    pub(crate) const NONE: Self = Self {
        latency_max: Duration::ZERO,
        slow: 0,
        lost: 0,
        unanswered: 0,
        late: 0,
        unavailable: 0,
        skipped: 0,
        cut: 0,
        dead: 0,
        lag_max: Duration::ZERO,
    };
    /// Everything takes its time and is done.
    pub(crate) const CALM: Self =
        Self { latency_max: Duration::from_millis(2), lag_max: Duration::from_millis(1), ..Self::NONE };
    /// The longest that something slow takes.
    pub(crate) const SLOW: Duration = Duration::from_millis(400);
    /// When whoever waits for an answer gives up, at most.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

    /// Faults of a seed: some kinds, each more or less often.
    pub(crate) fn drawn(rng: &mut fastrand::Rng) -> Self {
        let mut chance = || match rng.u32(..8) {
            0..3 => 0,
            3..5 => 100,
            5..7 => 30,
            _ => 10,
        };
        Self {
            latency_max: Duration::from_millis(2),
            slow: chance(),
            lost: chance(),
            unanswered: chance(),
            late: chance(),
            unavailable: chance(),
            skipped: chance(),
            cut: chance(),
            dead: chance(),
            lag_max: Duration::from_millis(if chance() == 0 { 1 } else { 60 }),
        }
    }
}

/// What becomes of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Done after so long, answered after so long again.
    Answered(Duration, Duration),
    /// Never done; said to be unanswered after so long.
    Lost(Duration),
    /// Done after the first time, said to be unanswered after the second.
    Unanswered(Duration, Duration),
    /// Not done, and said so after so long.
    Unavailable(Duration),
}

impl Faults {
    pub(crate) fn fate(&self, rng: &mut fastrand::Rng) -> Fate {
        let (go, back) = (self.way(rng), self.way(rng));
        if once_in(rng, self.lost) {
            return Fate::Lost(between(rng, Self::PATIENCE));
        }
        if once_in(rng, self.unavailable) {
            return Fate::Unavailable(go);
        }
        if once_in(rng, self.unanswered) {
            return Fate::Unanswered(go, go + between(rng, Self::PATIENCE));
        }
        if once_in(rng, self.late) {
            let patience = between(rng, Self::PATIENCE);
            return Fate::Unanswered(patience + between(rng, 2 * Self::PATIENCE), patience);
        }
        Fate::Answered(go, back)
    }

    /// How long something is on its way.
    pub(crate) fn way(&self, rng: &mut fastrand::Rng) -> Duration {
        if once_in(rng, self.slow) { between(rng, Self::SLOW) } else { between(rng, self.latency_max) }
    }
}

/// True once in so many times; never for 0.
pub(crate) fn once_in(rng: &mut fastrand::Rng, times: u32) -> bool {
    times > 0 && rng.u32(..times) == 0
}

/// A time up to `max`.
pub(crate) fn between(rng: &mut fastrand::Rng, max: Duration) -> Duration {
    if max.is_zero() {
        return max;
    }
    Duration::from_micros(rng.u64(..=max.as_micros() as u64))
}

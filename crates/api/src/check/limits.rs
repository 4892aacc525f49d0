//! Rules about limits and rate limits.

use super::Report;
use crate::path::Path;
use crate::spec::{
    MonoVertexLimits, PipelineLimits, RateLimit, RateLimitModes, RateLimitStore, RedisStoreMode,
};

pub(super) fn complain(limits: &PipelineLimits, path: &Path, report: &mut Report<'_>) {
    if limits.buffer_max_length == Some(0) {
        report.error(
            "buffer-max-length",
            &path.field("bufferMaxLength"),
            "a buffer for 0 messages is always full",
        );
    }
    if let Some(percent) = limits.buffer_usage_limit.filter(|percent| !(1..=100).contains(percent)) {
        let message = format!("`bufferUsageLimit` is a percentage from 1 to 100, not {percent}");
        report.error("buffer-usage-limit", &path.field("bufferUsageLimit"), message);
    }
    rate_limit(limits.rate_limit.as_ref(), path, report);
}

pub(super) fn mono_vertex(limits: &MonoVertexLimits, path: &Path, report: &mut Report<'_>) {
    rate_limit(limits.rate_limit.as_ref(), path, report);
}

fn rate_limit(limit: Option<&RateLimit>, path: &Path, report: &mut Report<'_>) {
    let Some(limit) = limit else { return };
    let at = path.field("rateLimit");
    if limit.max == Some(0) {
        report.error("rate-limit-max", &at.field("max"), "with 0 messages per second nothing ever flows");
    }
    if let (Some(min), Some(max)) = (limit.min, limit.max)
        && min > max
    {
        let message = format!("`min` ({min}) must not be above `max` ({max})");
        report.error("rate-limit-bounds", &at.field("min"), message);
    }
    if let Some(written) = &limit.store {
        store(written, &at.field("store"), report);
    }
    if let Some(RateLimitModes { scheduled, relaxed, only_if_used, go_back_n }) = &limit.modes {
        let set = [scheduled.is_some(), relaxed.is_some(), only_if_used.is_some(), go_back_n.is_some()];
        if set.into_iter().filter(|is_set| *is_set).count() > 1 {
            let message =
                "only one mode is used: `scheduled`, then `onlyIfUsed`, then `goBackN`, then `relaxed`";
            report.warning("rate-limit-modes", &at.field("modes"), message).hint("keep one of them");
        }
    }
}

fn store(store: &RateLimitStore, path: &Path, report: &mut Report<'_>) {
    let Some(redis) = &store.redis_store else { return };
    let at = path.field("redisStore");
    match redis.mode {
        RedisStoreMode::Single if redis.url.as_deref().is_none_or(str::is_empty) => {
            report.error("redis-url", &at.field("url"), "the mode `single` needs a `url`");
        }
        RedisStoreMode::Sentinel if redis.sentinel.is_none() => {
            report.error(
                "redis-sentinel",
                &at.field("sentinel"),
                "the mode `sentinel` needs the block `sentinel`",
            );
        }
        RedisStoreMode::Single | RedisStoreMode::Sentinel => {}
    }
    if store.in_memory_store.is_some() {
        let message = "only one store is used, and `redisStore` comes first";
        report.warning("rate-limit-stores", &path.field("inMemoryStore"), message).hint("keep one of them");
    }
}

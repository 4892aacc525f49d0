//! Counters after a run, as a scraper sees them.

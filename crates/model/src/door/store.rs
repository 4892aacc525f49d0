//! The door to the place where the workers of a vertex agree how many of them share a rate.
//!
//! A store knows members by name and nothing of rates. It decides nothing: it says who is there and whether all of them
//! believe in the same number; what a member makes of that is its own affair.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;

/// What a member hears when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// How many members there are, this one included.
    pub members: u64,
    /// What a member of this name had reached when it left, if that is not longer ago than the time to live.
    pub reached: Option<u64>,
}

/// What the members of a store make of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// How many members there are, this one included.
    pub members: u64,
    /// The largest number of members that any of them believes in.
    pub largest: u64,
    /// All believe in the same number. It need not be the number there are.
    pub unanimous: bool,
    /// Where this member stands among all when they are put in the order of belief and name; below `members`. While all
    /// are unanimous each has a place of its own.
    pub place: u64,
}

impl Agreement {
    /// Every member knows how many they are.
    pub fn settled(&self) -> bool {
        self.unanimous && self.largest == self.members
    }
}

/// One member's seat in a store.
///
/// Members come and go at any moment, each through a seat of its own. A member that says nothing for longer than its time
/// to live does not count any more, and comes back with its next word. Errors are of class `Retry` unless the store can
/// never be reached; nothing depends on them but how fresh a member's knowledge is. Dropping a future of any call leaves
/// the call done or not done.
#[async_trait]
pub trait Store: Send + Sync {
    /// Comes, or says that it is here again. The member believes in as many members as it is told.
    async fn register(&self, ttl: Duration) -> Result<Registered, Error>;

    /// Says that it is still here and how many members it believes in, and hears what the others do.
    async fn sync(&self, believed: u64, ttl: Duration) -> Result<Agreement, Error>;

    /// Leaves, having reached so much. It keeps nothing of the member but that.
    async fn deregister(&self, reached: u64, ttl: Duration) -> Result<(), Error>;
}

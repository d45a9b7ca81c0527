//! Bugs put in on purpose, by number, to prove that the simulator finds them. All of it, and every place that asks, exists
//! only in builds with `--cfg planted`: `cargo xtask sim --planted 3` makes one. Which bug is chosen at run time, so that
//! one build has them all.
//!
//! 1. an answer leaves before its commit
//! 2. batch n + 1 is committed after batch n has failed
//! 3. a refusal is answered from state that is not durable
//! 4. a shard is reloaded before batches that are queued
//! 5. a wake row that moves is lost
//! 6. an outbox row is deleted when it is sent
//! 7. the request id of a signal is not recorded
//! 8. a poller is reserved past a backlog
//! 9. a chain with a batch in flight is evicted
//! 10. an undelivered activity is not handed out again
//! 11. who waits for an update is told before the commit

use std::cell::Cell;

/// The number of the last bug.
pub const LAST: u8 = 11;

thread_local! {
    static NUMBER: Cell<u8> = const { Cell::new(0) };
}

/// Puts a bug into everything that runs on this thread; 0 for none.
pub fn set(number: u8) {
    NUMBER.set(number);
}

/// Whether the bug of that number is in.
pub fn is(number: u8) -> bool {
    NUMBER.get() == number
}

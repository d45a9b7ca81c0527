//! Manual mode: what each fate writes and answers. Automatic mode is covered by the conformance suite.

use std::sync::mpsc;

use super::*;

const SHARD: ShardId = ShardId(3);

#[test]
fn a_claim_waits_behind_the_batches_queued_before_it() {
    let bed = Bed::new();
    let first = bed.claimed();
    bed.put(first, 1, "a");
    let mut second = bed.store.claim(SHARD);
    bed.put(first, 2, "b");
    assert_eq!((bed.store.pending(), bed.store.queued(SHARD)), (vec![SHARD], 3));

    assert!(bed.store.execute(SHARD, Fate::Succeed));
    assert_eq!(poll(&mut second), None);
    assert!(bed.store.execute(SHARD, Fate::Succeed));
    assert!(matches!(poll(&mut second), Some(Ok(claim)) if claim.epoch > first.epoch));
    assert!(bed.store.execute(SHARD, Fate::Succeed));
    assert!(!bed.store.execute(SHARD, Fate::Succeed), "nothing is left");
    assert_eq!(bed.heard(), [Ok(()), Err(Error::Fenced)]);
    assert!(bed.has("a") && !bed.has("b"));
}

#[test]
fn an_unknown_outcome_ends_the_claim_written_or_not() {
    for written in [true, false] {
        let bed = Bed::new();
        let claim = bed.claimed();
        bed.put(claim, 1, "a");
        bed.put(claim, 2, "b");
        bed.store.execute(SHARD, Fate::Unknown { written });
        bed.store.execute(SHARD, Fate::Succeed);
        assert!(matches!(bed.heard()[..], [Err(Error::Unknown(_)), Err(Error::Rejected(_))]));
        assert_eq!((bed.has("a"), bed.has("b")), (written, false));
    }
}

#[test]
fn a_refused_batch_writes_nothing_and_ends_the_claim() {
    let bed = Bed::new();
    let claim = bed.claimed();
    bed.put(claim, 1, "a");
    bed.put(claim, 2, "b");
    bed.store.execute(SHARD, Fate::Fail);
    bed.store.execute(SHARD, Fate::Succeed);
    assert!(matches!(bed.heard()[..], [Err(Error::Rejected(_)), Err(Error::Rejected(_))]));
    assert!(bed.store.snapshot().is_empty());
}

#[test]
fn a_poisoned_store_refuses_everything_until_it_starts_again() {
    let bed = Bed::new();
    let claim = bed.claimed();
    bed.put(claim, 1, "a");
    bed.put(claim, 2, "b");
    bed.store.execute(SHARD, Fate::Poison { written: true });
    bed.store.execute(SHARD, Fate::Succeed);
    bed.put(claim, 3, "c");
    assert!(bed.heard().iter().all(|result| matches!(result, Err(Error::Poisoned(_)))));
    assert!(matches!(poll(&mut bed.store.claim(SHARD)), Some(Err(Error::Poisoned(_)))));
    assert!(matches!(poll(&mut bed.store.get(Table::State, key("a"))), Some(Err(Error::Poisoned(_)))));
    assert!(bed.has("a"), "checkers still read");

    bed.store.crash();
    assert!(bed.claimed().epoch > claim.epoch);
}

#[test]
fn a_crash_forgets_what_was_queued_and_keeps_the_rows() {
    let bed = Bed::new();
    let claim = bed.claimed();
    for (seq, name) in [(1, "a"), (2, "b"), (3, "c")] {
        bed.put(claim, seq, name);
    }
    bed.store.execute(SHARD, Fate::Succeed);
    bed.store.execute(SHARD, Fate::Unheard);
    bed.store.crash();
    assert_eq!(bed.heard(), [Ok(())]);
    assert!(bed.has("a") && bed.has("b") && !bed.has("c"));
    assert!(bed.store.pending().is_empty());

    bed.put(claim, 3, "c");
    bed.store.execute(SHARD, Fate::Succeed);
    assert_eq!(bed.heard(), [Err(Error::Fenced)], "claims do not outlive the process");
}

/// A manual store that collects what its committers hear.
struct Bed {
    store: MemoryStore,
    hear: mpsc::Sender<Result<(), Error>>,
    heard: mpsc::Receiver<Result<(), Error>>,
}

impl Bed {
    fn new() -> Bed {
        let (hear, heard) = mpsc::channel();
        Bed { store: MemoryStore::manual(), hear, heard }
    }

    fn claimed(&self) -> Claim {
        let mut claim = self.store.claim(SHARD);
        assert!(self.store.execute(SHARD, Fate::Succeed));
        poll(&mut claim).expect("executed").expect("succeeded")
    }

    fn put(&self, claim: Claim, seq: u64, name: &'static str) {
        let hear = self.hear.clone();
        let put = Op::Put { table: Table::State, key: key(name), value: Bytes::from_static(b"value") };
        self.store.commit(claim, seq, vec![put], Box::new(move |result| hear.send(result).expect("the bed lives")));
    }

    fn heard(&self) -> Vec<Result<(), Error>> {
        self.heard.try_iter().collect()
    }

    fn has(&self, name: &'static str) -> bool {
        self.store.get_now(Table::State, &key(name)).is_some()
    }
}

fn key(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

fn poll<T>(future: &mut BoxFuture<T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

//! The promises of [`Store`], one function each, as tests that every engine runs.
//!
//! An engine's tests implement [`Bed`] and call [`run`]. A promise that does not hold panics in the function named after
//! it. Nothing here sleeps or reads a clock: it awaits answers.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use mainspring_rt::BoxFuture;

use crate::{Claim, Error, Op, Page, Scan, ShardId, Store, Table};

/// Where an engine keeps its data during one test.
pub trait Bed: Send + Sync {
    /// Opens the store. Called again once the earlier one was dropped, it finds the same data, as after a restart.
    fn open(&self) -> BoxFuture<Arc<dyn Store>>;
    /// Opens a file that [`Store::backup`] wrote.
    fn open_backup(&self, path: PathBuf) -> BoxFuture<Arc<dyn Store>>;
    /// A directory for files of the test.
    fn scratch(&self) -> PathBuf;
}

/// Tests every promise, each on a fresh bed.
pub async fn run<B: Bed>(fresh: impl Fn() -> B) {
    batches_are_executed_in_order_of_seq(&fresh()).await;
    a_gap_is_refused(&fresh()).await;
    a_claim_is_dead_after_its_first_error(&fresh()).await;
    a_claim_is_ordered_behind_queued_batches(&fresh()).await;
    an_older_claim_is_fenced(&fresh()).await;
    claims_of_other_shards_are_left_alone(&fresh()).await;
    a_batch_is_written_whole(&fresh()).await;
    the_last_write_of_a_batch_counts(&fresh()).await;
    what_was_acknowledged_is_read(&fresh()).await;
    tables_are_apart(&fresh()).await;
    a_scan_goes_through_a_range_in_pages(&fresh()).await;
    a_page_ends_by_rows_or_bytes(&fresh()).await;
    an_empty_range_has_no_rows(&fresh()).await;
    keys_are_ordered_by_their_bytes(&fresh()).await;
    several_reads_see_one_state(&fresh()).await;
    a_purge_deletes_a_range_only(&fresh()).await;
    a_purge_lets_commits_pass(&fresh()).await;
    large_values_come_back(&fresh()).await;
    a_backup_equals_what_it_was_made_of(&fresh()).await;
    a_backup_never_replaces_a_file(&fresh()).await;
    epochs_rise_over_a_restart(&fresh()).await;
    data_survives_a_restart(&fresh()).await;
    stats_count_what_was_acknowledged(&fresh()).await;
}

const SHARD: ShardId = ShardId(3);
const OTHER: ShardId = ShardId(511);

/// Queued together, batches of a claim are executed and answered one after the other.
pub async fn batches_are_executed_in_order_of_seq(bed: &dyn Bed) {
    let store = bed.open().await;
    let claim = claimed(&*store, SHARD).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut answers = Vec::new();
    for seq in 1..=600 {
        let (answer, answered) = oneshot::channel();
        let hearing = heard.clone();
        let done = Box::new(move |result| {
            hearing.lock().unwrap_or_else(PoisonError::into_inner).push(seq);
            drop(answer.send(result));
        });
        store.commit(claim, seq, vec![put("counter", &seq.to_string())], done);
        answers.push(answered);
    }
    for answered in answers {
        assert_eq!(answered.await.expect("done is called"), Ok(()));
    }
    assert_eq!(*heard.lock().expect("no test thread panicked"), (1..=600).collect::<Vec<u64>>());
    assert_eq!(read(&*store, "counter").await.as_deref(), Some("600"));
}

/// Numbers start at 1 and rise by 1.
pub async fn a_gap_is_refused(bed: &dyn Bed) {
    let store = bed.open().await;
    let late = claimed(&*store, SHARD).await;
    assert_rejected(commit(&*store, late, 2, vec![put("late", "x")]).await);
    assert_rejected(commit(&*store, late, 1, vec![put("late", "x")]).await);

    let skipping = claimed(&*store, SHARD).await;
    assert_eq!(commit(&*store, skipping, 1, vec![put("first", "x")]).await, Ok(()));
    assert_rejected(commit(&*store, skipping, 3, vec![put("third", "x")]).await);

    let repeating = claimed(&*store, SHARD).await;
    assert_eq!(commit(&*store, repeating, 1, vec![put("once", "x")]).await, Ok(()));
    assert_rejected(commit(&*store, repeating, 1, vec![put("once", "y")]).await);
    assert_eq!(names(&*store).await, ["first", "once"]);
}

/// What was queued behind a failed batch must not be executed: it was computed from a state that never came to be.
pub async fn a_claim_is_dead_after_its_first_error(bed: &dyn Bed) {
    let store = bed.open().await;
    let claim = claimed(&*store, SHARD).await;
    let queued = [
        (1, queue(&*store, claim, 1, vec![put("1", "x")])),
        (3, queue(&*store, claim, 3, vec![put("3", "x")])),
        (2, queue(&*store, claim, 2, vec![put("2", "x")])),
        (4, queue(&*store, claim, 4, vec![put("4", "x")])),
    ];
    for (seq, answer) in queued {
        let result = answer.await;
        if seq == 1 { assert_eq!(result, Ok(())) } else { assert_rejected(result) }
    }
    assert_eq!(names(&*store).await, ["1"]);
    let next = claimed(&*store, SHARD).await;
    assert_eq!(commit(&*store, next, 1, vec![put("again", "x")]).await, Ok(()));
}

/// Whoever gets a claim reads the last state that the earlier owner may have acknowledged.
pub async fn a_claim_is_ordered_behind_queued_batches(bed: &dyn Bed) {
    let store = bed.open().await;
    let old = claimed(&*store, SHARD).await;
    let before: Vec<_> =
        (1..=300).map(|seq| queue(&*store, old, seq, vec![put("counter", &seq.to_string())])).collect();
    let claiming = store.claim(SHARD);
    let after = queue(&*store, old, 301, vec![put("counter", "too late")]);

    let new = claiming.await.expect("claimed");
    assert_eq!(read(&*store, "counter").await.as_deref(), Some("300"));
    assert!(new.epoch > old.epoch);
    for answer in before {
        assert_eq!(answer.await, Ok(()));
    }
    assert_eq!(after.await, Err(Error::Fenced));
}

/// A deposed owner cannot write, whatever number it tries.
pub async fn an_older_claim_is_fenced(bed: &dyn Bed) {
    let store = bed.open().await;
    let never_made = Claim { shard: SHARD, epoch: 1 };
    assert_eq!(commit(&*store, never_made, 1, vec![put("a", "x")]).await, Err(Error::Fenced));

    let old = claimed(&*store, SHARD).await;
    assert_eq!(commit(&*store, old, 1, vec![put("a", "old")]).await, Ok(()));
    let new = claimed(&*store, SHARD).await;
    assert_eq!(new.epoch, old.epoch + 1);
    for seq in [1, 2, 3] {
        let ops = vec![put("a", "fenced"), put("b", "fenced")];
        assert_eq!(commit(&*store, old, seq, ops).await, Err(Error::Fenced));
    }
    assert_eq!(commit(&*store, new, 1, vec![put("c", "new")]).await, Ok(()));
    assert_eq!(read(&*store, "a").await.as_deref(), Some("old"));
    assert_eq!(names(&*store).await, ["a", "c"]);
}

/// Shards fail alone.
pub async fn claims_of_other_shards_are_left_alone(bed: &dyn Bed) {
    let store = bed.open().await;
    let (here, there) = (claimed(&*store, SHARD).await, claimed(&*store, OTHER).await);
    let good = queue(&*store, there, 1, vec![put("1", "x")]);
    let bad = queue(&*store, here, 9, vec![put("9", "x")]);
    let claiming = store.claim(SHARD);
    let good_too = queue(&*store, there, 2, vec![put("2", "x")]);
    assert_eq!(good.await, Ok(()));
    assert_rejected(bad.await);
    assert!(claiming.await.is_ok());
    assert_eq!(good_too.await, Ok(()));
    assert_eq!(names(&*store).await, ["1", "2"]);
}

/// Its writes appear together, in every table.
pub async fn a_batch_is_written_whole(bed: &dyn Bed) {
    let store = bed.open().await;
    let claim = claimed(&*store, SHARD).await;
    let ops = Table::ALL.map(|table| Op::Put { table, key: bytes("k"), value: bytes("v") });
    assert_eq!(commit(&*store, claim, 1, ops.to_vec()).await, Ok(()));
    for table in Table::ALL {
        assert_eq!(store.get(table, bytes("k")).await, Ok(Some(bytes("v"))));
    }
    let ops = Table::ALL.map(|table| Op::Delete { table, key: bytes("k") });
    assert_rejected(commit(&*store, claim, 3, ops.to_vec()).await);
    for table in Table::ALL {
        assert_eq!(store.get(table, bytes("k")).await, Ok(Some(bytes("v"))), "nothing of a refused batch");
    }
}

/// Operations of a batch are applied in their order; deleting what is absent is fine.
pub async fn the_last_write_of_a_batch_counts(bed: &dyn Bed) {
    let store = bed.open().await;
    let claim = claimed(&*store, SHARD).await;
    let ops = vec![put("a", "1"), put("a", "2"), put("b", "1"), delete("b"), delete("c"), put("c", "1"), delete("d")];
    assert_eq!(commit(&*store, claim, 1, ops).await, Ok(()));
    assert_eq!(commit(&*store, claim, 2, Vec::new()).await, Ok(()));
    assert_eq!(read(&*store, "a").await.as_deref(), Some("2"));
    assert_eq!(names(&*store).await, ["a", "c"]);
}

/// A read that starts after the acknowledgement sees the batch.
pub async fn what_was_acknowledged_is_read(bed: &dyn Bed) {
    let store = bed.open().await;
    let claim = claimed(&*store, SHARD).await;
    for seq in 1..=100 {
        let value = seq.to_string();
        assert_eq!(commit(&*store, claim, seq, vec![put("k", &value)]).await, Ok(()));
        assert_eq!(read(&*store, "k").await, Some(value));
    }
    assert_eq!(commit(&*store, claim, 101, vec![delete("k")]).await, Ok(()));
    assert_eq!(read(&*store, "k").await, None);
}

/// The same key in two tables is two rows.
pub async fn tables_are_apart(bed: &dyn Bed) {
    let store = bed.open().await;
    let claim = claimed(&*store, SHARD).await;
    let ops = Table::ALL.map(|table| Op::Put { table, key: bytes("k"), value: bytes(&format!("{table:?}")) });
    assert_eq!(commit(&*store, claim, 1, ops.to_vec()).await, Ok(()));
    for table in Table::ALL {
        assert_eq!(store.get(table, bytes("k")).await, Ok(Some(bytes(&format!("{table:?}")))));
    }
}

/// Going on after the last key of each page gives every row of the range once, up and down.
pub async fn a_scan_goes_through_a_range_in_pages(bed: &dyn Bed) {
    let store = bed.open().await;
    let all: Vec<String> = (0..25).map(|n| format!("k{n:02}")).collect();
    fill(&*store, &all).await;
    let inside = &all[5..20];

    let mut seen = Vec::new();
    let mut range = scan("k05", "k20", 4);
    loop {
        let page = store.scan(range.clone()).await.expect("scanned");
        seen.extend(keys(&page));
        let Some((last, _)) = page.rows.last().filter(|_| page.more) else { break };
        range.from = Bytes::from([last, &b"\0"[..]].concat());
    }
    assert_eq!(seen, inside);

    let mut seen = Vec::new();
    let mut range = Scan { reverse: true, ..scan("k05", "k20", 4) };
    loop {
        let page = store.scan(range.clone()).await.expect("scanned");
        seen.extend(keys(&page));
        let Some((last, _)) = page.rows.last().filter(|_| page.more) else { break };
        range.to = last.clone();
    }
    seen.reverse();
    assert_eq!(seen, inside);
}

/// A page holds at most `rows_max` rows, ends once its values reach `bytes_max`, and holds at least one row.
pub async fn a_page_ends_by_rows_or_bytes(bed: &dyn Bed) {
    let store = bed.open().await;
    fill(&*store, &["a", "b", "c", "d"].map(str::to_owned)).await;
    // Each value is as long as "value of x".
    for (rows_max, bytes_max, found) in [(3, 1000, 3), (0, 1000, 1), (9, 0, 1), (9, 10, 1), (9, 11, 2), (9, 1000, 4)] {
        for reverse in [false, true] {
            let page = store.scan(Scan { bytes_max, reverse, ..scan("a", "z", rows_max) }).await.expect("scanned");
            assert_eq!(page.rows.len(), found, "rows_max {rows_max}, bytes_max {bytes_max}, reverse {reverse}");
            assert!(page.more || found == 4);
        }
    }
    let page = store.scan(scan("a", "z", 5)).await.expect("scanned");
    assert!(!page.more, "the range ended before the page was full");
}

/// Nothing between the bounds, equal bounds, or bounds the wrong way round.
pub async fn an_empty_range_has_no_rows(bed: &dyn Bed) {
    let store = bed.open().await;
    fill(&*store, &["b", "y"].map(str::to_owned)).await;
    for (from, to) in [("c", "x"), ("b", "b"), ("y", "b"), ("", "b"), ("z", "zz")] {
        for reverse in [false, true] {
            let found = store.scan(Scan { reverse, ..scan(from, to, 10) }).await;
            assert_eq!(found, Ok(Page::default()), "{from}..{to}, reverse {reverse}");
        }
    }
    assert_eq!(store.scan_all(Vec::new()).await, Ok(Vec::new()));
    assert_eq!(store.multi_get(Table::State, Vec::new()).await, Ok(Vec::new()));
}

/// Unsigned bytes, the shorter of two equal beginnings first, and zero is a byte like the others.
pub async fn keys_are_ordered_by_their_bytes(bed: &dyn Bed) {
    let store = bed.open().await;
    let ordered: [&[u8]; 8] = [b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"b", b"\x80", b"\xff\xff"];
    let claim = claimed(&*store, SHARD).await;
    let put = |key: &&[u8]| Op::Put { table: Table::Queue, key: Bytes::copy_from_slice(key), value: bytes("") };
    assert_eq!(commit(&*store, claim, 1, ordered.iter().rev().map(put).collect()).await, Ok(()));
    let to = Bytes::from_static(b"\xff\xff\xff");
    let range = Scan { table: Table::Queue, from: bytes(""), to, rows_max: 100, bytes_max: 100, reverse: false };
    let page = store.scan(range).await.expect("scanned");
    let found: Vec<&[u8]> = page.rows.iter().map(|(key, _)| &key[..]).collect();
    assert_eq!(found, ordered);
    assert!(page.rows.iter().all(|(_, value)| value.is_empty()));
}

/// While batches that write two rows alike are committed, no `multi_get` or `scan_all` sees them differ.
pub async fn several_reads_see_one_state(bed: &dyn Bed) {
    let store = bed.open().await;
    let claim = claimed(&*store, SHARD).await;
    let mut answers = Vec::new();
    for seq in 1..=200 {
        let value = seq.to_string();
        answers.push(queue(&*store, claim, seq, vec![put("a", &value), put("z", &value)]));
        let one = store.multi_get(Table::State, vec![bytes("a"), bytes("z"), bytes("m")]).await.expect("read");
        assert_eq!(one[0], one[1]);
        assert_eq!(one[2], None);
        let pages = store.scan_all(vec![scan("a", "b", 9), scan("z", "zz", 9)]).await.expect("scanned");
        let values: Vec<_> = pages.iter().map(|page| page.rows.first().map(|(_, value)| value.clone())).collect();
        assert_eq!(values[0], values[1]);
    }
    for answer in answers {
        assert_eq!(answer.await, Ok(()));
    }
}

/// The bounds are those of a scan; more rows than an engine deletes at a time.
pub async fn a_purge_deletes_a_range_only(bed: &dyn Bed) {
    let store = bed.open().await;
    let all: Vec<String> = (0..1500).map(|n| format!("k{n:04}")).collect();
    fill(&*store, &all).await;
    assert_eq!(store.purge(Table::State, bytes("k0100"), bytes("k1400")).await, Ok(()));
    assert_eq!(store.purge(Table::State, bytes("k1450"), bytes("k1450")).await, Ok(()));
    assert_eq!(store.purge(Table::State, bytes("k1460"), bytes("k1450")).await, Ok(()));
    assert_eq!(store.purge(Table::History, bytes("k0000"), bytes("k9999")).await, Ok(()));
    assert_eq!(names(&*store).await, [&all[..100], &all[1400..]].concat());
}

/// Purges run beside commits: neither waits for the other's end.
pub async fn a_purge_lets_commits_pass(bed: &dyn Bed) {
    let store = bed.open().await;
    let all: Vec<String> = (0..3000).map(|n| format!("k{n:04}")).collect();
    fill(&*store, &all).await;
    let claim = claimed(&*store, OTHER).await;
    let first = store.purge(Table::State, bytes("k0000"), bytes("k1500"));
    let second = store.purge(Table::State, bytes("k1500"), bytes("k3000"));
    for seq in 1..=20 {
        assert_eq!(commit(&*store, claim, seq, vec![put("other", &seq.to_string())]).await, Ok(()));
    }
    assert_eq!(second.await, Ok(()));
    assert_eq!(first.await, Ok(()));
    assert_eq!(names(&*store).await, ["other"]);
}

/// Larger than any page of a database and than any group of batches.
pub async fn large_values_come_back(bed: &dyn Bed) {
    let store = bed.open().await;
    let claim = claimed(&*store, SHARD).await;
    let large: Bytes = (0..4 << 20).map(|n: u32| n.to_le_bytes()[n as usize % 3]).collect();
    for (seq, name) in [(1, "a"), (2, "b")] {
        let put = Op::Put { table: Table::History, key: bytes(name), value: large.clone() };
        assert_eq!(commit(&*store, claim, seq, vec![put]).await, Ok(()));
    }
    assert_eq!(store.get(Table::History, bytes("a")).await, Ok(Some(large.clone())));
    let page = store.scan(Scan { table: Table::History, ..scan("a", "z", 9) }).await.expect("scanned");
    assert_eq!(page.rows, [(bytes("a"), large)]);
    assert!(page.more);
}

/// It holds what was acknowledged before it began, opens as a store, and the shards' epochs go on from there.
pub async fn a_backup_equals_what_it_was_made_of(bed: &dyn Bed) {
    let store = bed.open().await;
    let all: Vec<String> = (0..2000).map(|n| format!("k{n:04}")).collect();
    fill(&*store, &all).await;
    let claim = claimed(&*store, SHARD).await;
    let path = bed.scratch().join("copy.db");
    let backup = store.backup(path.clone());
    assert_eq!(commit(&*store, claim, 1, vec![delete("k0000"), delete("k1999")]).await, Ok(()));
    assert_eq!(backup.await, Ok(()));

    let copy = bed.open_backup(path).await;
    let found = names(&*copy).await;
    assert!(found == all || found == all[1..1999], "all of the batch that was written meanwhile, or nothing of it");
    assert_eq!(read(&*copy, "k1000").await.as_deref(), Some("value of k1000"));
    assert_eq!(commit(&*copy, claim, 2, vec![put("a", "x")]).await, Err(Error::Fenced));
    assert!(claimed(&*copy, SHARD).await.epoch > claim.epoch);
}

/// A mistyped path destroys nothing.
pub async fn a_backup_never_replaces_a_file(bed: &dyn Bed) {
    let store = bed.open().await;
    let path = bed.scratch().join("precious");
    std::fs::write(&path, "precious").expect("the scratch directory can be written to");
    assert_rejected(store.backup(path.clone()).await);
    assert_rejected(store.backup(bed.scratch().join("missing").join("copy.db")).await);
    assert_eq!(std::fs::read(&path).expect("it is still there"), b"precious");
}

/// A claim that was made before the restart is fenced after it, also before the shard is claimed again.
pub async fn epochs_rise_over_a_restart(bed: &dyn Bed) {
    let mut last: Option<Claim> = None;
    for _ in 0..3 {
        let store = bed.open().await;
        if let Some(old) = last {
            assert_eq!(commit(&*store, old, 1, vec![put("k", "x")]).await, Err(Error::Fenced));
        }
        let claim = claimed(&*store, SHARD).await;
        assert!(last.is_none_or(|old| claim.epoch > old.epoch));
        assert_eq!(commit(&*store, claim, 1, vec![put("k", "x")]).await, Ok(()));
        last = Some(claim);
    }
}

/// Every acknowledged row, and no deleted one.
pub async fn data_survives_a_restart(bed: &dyn Bed) {
    let all: Vec<String> = (0..100).map(|n| format!("k{n:02}")).collect();
    {
        let store = bed.open().await;
        fill(&*store, &all).await;
        let claim = claimed(&*store, SHARD).await;
        assert_eq!(commit(&*store, claim, 1, vec![delete("k50"), put("k51", "changed")]).await, Ok(()));
        assert_eq!(store.purge(Table::State, bytes("k90"), bytes("k99")).await, Ok(()));
    }
    let store = bed.open().await;
    let expected = [&all[..50], &all[51..90], &all[99..]].concat();
    assert_eq!(names(&*store).await, expected);
    assert_eq!(read(&*store, "k51").await.as_deref(), Some("changed"));
}

/// Refused batches and claims are not counted.
pub async fn stats_count_what_was_acknowledged(bed: &dyn Bed) {
    let store = bed.open().await;
    let claim = claimed(&*store, SHARD).await;
    let before = store.stats();
    assert_eq!(commit(&*store, claim, 1, vec![put("key", "value"), delete("key")]).await, Ok(()));
    assert_rejected(commit(&*store, claim, 7, vec![put("key", "value")]).await);
    let after = store.stats();
    assert_eq!(after.commits - before.commits, 1);
    assert_eq!(after.bytes - before.bytes, 11);
    assert!(after.groups > before.groups);
}

/// Claims the shard.
async fn claimed(store: &dyn Store, shard: ShardId) -> Claim {
    store.claim(shard).await.expect("the shard can be claimed")
}

/// Queues a batch at once; the future only awaits its answer.
fn queue(store: &dyn Store, claim: Claim, seq: u64, ops: Vec<Op>) -> BoxFuture<Result<(), Error>> {
    let (answer, answered) = oneshot::channel();
    store.commit(claim, seq, ops, Box::new(move |result| drop(answer.send(result))));
    Box::pin(async move { answered.await.expect("done is called") })
}

async fn commit(store: &dyn Store, claim: Claim, seq: u64, ops: Vec<Op>) -> Result<(), Error> {
    queue(store, claim, seq, ops).await
}

/// Writes a row named so for each of `names`.
async fn fill(store: &dyn Store, names: &[String]) {
    let claim = claimed(store, SHARD).await;
    let ops = names.iter().map(|name| put(name, &format!("value of {name}"))).collect();
    assert_eq!(commit(store, claim, 1, ops).await, Ok(()));
}

async fn read(store: &dyn Store, name: &str) -> Option<String> {
    let value = store.get(Table::State, bytes(name)).await.expect("read")?;
    Some(String::from_utf8_lossy(&value).into_owned())
}

/// The keys of all rows of the table that these tests write to.
async fn names(store: &dyn Store) -> Vec<String> {
    let all = Scan { bytes_max: usize::MAX, ..scan("", "~", usize::MAX) };
    keys(&store.scan(all).await.expect("scanned"))
}

fn keys(page: &Page) -> Vec<String> {
    page.rows.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect()
}

fn scan(from: &str, to: &str, rows_max: usize) -> Scan {
    Scan { table: Table::State, from: bytes(from), to: bytes(to), rows_max, bytes_max: 1 << 20, reverse: false }
}

fn put(name: &str, value: &str) -> Op {
    Op::Put { table: Table::State, key: bytes(name), value: bytes(value) }
}

fn delete(name: &str) -> Op {
    Op::Delete { table: Table::State, key: bytes(name) }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn assert_rejected(result: Result<(), Error>) {
    assert!(matches!(result, Err(Error::Rejected(_))), "{result:?}");
}

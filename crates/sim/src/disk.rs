//! The store as a node sees it: the memory engine, with reads that are slow or fail, and writes that wait for their fate.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytes::Bytes;
use mainspring_rt::{BoxFuture, Timestamp};
use mainspring_store::{
    Claim, Done, Error, Op, Page, Scan, ShardId, Stats, Store, Table,
    memory::{Fate, MemoryStore},
};

use crate::world::{Phase, Sim};

pub(crate) struct Disk {
    sim: Sim,
    store: MemoryStore,
}

impl Disk {
    pub(crate) fn new(sim: Sim) -> Disk {
        let store = sim.store.clone();
        Disk { sim, store }
    }

    /// A read is executed at some time after it was asked for, and answered at some time after that.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&MemoryStore) -> BoxFuture<Result<T, Error>> + Send + 'static,
    ) -> BoxFuture<Result<T, Error>> {
        let (sim, store) = (self.sim.clone(), self.store.clone());
        Box::pin(async move {
            if sim.strikes(sim.plan.faults.read_fails) {
                sim.saw("read failed");
                return Err(Error::Unknown("the simulator said so".to_owned()));
            }
            sim.dawdle().await;
            let come = read(&store).await;
            sim.dawdle().await;
            come
        })
    }
}

impl Store for Disk {
    fn claim(&self, shard: ShardId) -> BoxFuture<Result<Claim, Error>> {
        self.store.claim(shard)
    }

    fn commit(&self, claim: Claim, seq: u64, ops: Vec<Op>, done: Done) {
        self.sim.note(|| format!("shard {} commits {}/{seq}: {} rows", claim.shard.0, claim.epoch, ops.len()));
        self.sim.keep_in_archive(claim.shard, &ops);
        self.store.commit(claim, seq, ops, done);
    }

    fn get(&self, table: Table, key: Bytes) -> BoxFuture<Result<Option<Bytes>, Error>> {
        self.read(move |store| store.get(table, key))
    }

    fn multi_get(&self, table: Table, keys: Vec<Bytes>) -> BoxFuture<Result<Vec<Option<Bytes>>, Error>> {
        self.read(move |store| store.multi_get(table, keys))
    }

    fn scan(&self, scan: Scan) -> BoxFuture<Result<Page, Error>> {
        self.read(move |store| store.scan(scan))
    }

    fn scan_all(&self, scans: Vec<Scan>) -> BoxFuture<Result<Vec<Page>, Error>> {
        self.read(move |store| store.scan_all(scans))
    }

    fn purge(&self, table: Table, from: Bytes, to: Bytes) -> BoxFuture<Result<(), Error>> {
        self.store.purge(table, from, to)
    }

    fn backup(&self, to: PathBuf) -> BoxFuture<Result<(), Error>> {
        self.store.backup(to)
    }

    fn stats(&self) -> Stats {
        self.store.stats()
    }
}

/// Shards whose writes the store leaves alone for a while.
#[derive(Default)]
pub(crate) struct Stalls(BTreeMap<ShardId, Timestamp>);

impl Sim {
    async fn dawdle(&self) {
        if self.strikes(self.plan.faults.read_slow) {
            self.saw("read slow");
            self.pause(1, 500).await;
        }
    }

    /// The shards with something queued that the store may go on with.
    pub(crate) fn writable(&self, stalls: &Stalls) -> Vec<ShardId> {
        let mut shards = self.store.pending();
        if !stalls.0.is_empty() {
            let now = self.time();
            shards.retain(|shard| stalls.0.get(shard).is_none_or(|until| *until <= now));
        }
        shards
    }

    /// Executes the oldest work of the shard, or lets it wait.
    pub(crate) fn execute(&self, shard: ShardId, stalls: &mut Stalls) {
        if self.strikes(self.plan.faults.write_slow) {
            self.saw("write slow");
            let pause = Duration::from_millis(self.random().between(1, 2_000));
            stalls.0.insert(shard, self.time() + pause);
            // Something must be there that moves the time.
            let sleep = self.sleep(pause);
            return self.spawn(sleep);
        }
        let fate = self.fate();
        self.note(|| format!("store executes work of shard {}: {fate:?}", shard.0));
        if fate != Fate::Succeed {
            self.ledger().excuse(self.latest());
        }
        self.store.execute(shard, fate);
    }

    fn fate(&self) -> Fate {
        if self.phase() != Phase::Chaos {
            return Fate::Succeed;
        }
        let faults = &self.plan.faults;
        let random = self.random();
        let written = random.one_in(2);
        if random.hits(faults.commit_refused) {
            self.saw("commit refused");
            return Fate::Fail;
        }
        if random.hits(faults.commit_unknown) {
            self.saw(if written { "commit written, unknown" } else { "commit not written, unknown" });
            return Fate::Unknown { written };
        }
        if random.hits(faults.poison) {
            self.saw("poison");
            return Fate::Poison { written };
        }
        Fate::Succeed
    }
}

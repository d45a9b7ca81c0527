//! What a shard reads: chains on first use, the shard's own rows when it opens, runs that are not the newest.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use bytes::Bytes;
use mainspring_api::ids::{NamespaceId, RunId};
use mainspring_engine::{
    Moment,
    input::Input,
    outcome::{Outcome, Rejected, Reply},
    state::{Chain, Fixed, Run, RunNumber},
};
use mainspring_matching::QueueHash;
use mainspring_rt::Timestamp;
use mainspring_store::{
    Claim, Error as StoreError, Page, Scan, Table,
    keys::{self, Range},
    record::{self, Current, Parked, ShardInfo, TaskRow},
    run,
};

use super::{Action, Answered, ChainKey, Pause, Phase, RETRY, Shard, Target, Work, World, chains::Found};
use crate::answer::{Answer, Error, RunView};

/// Rows of a page, where nothing says otherwise.
const PAGE_ROWS: usize = 1_000;
/// Bytes of a page.
const PAGE_BYTES: usize = 4 << 20;
/// Reads under way beyond which nothing is read that can wait.
const READS_MAX: usize = 64;

/// How long work that nobody would ask for again waits after a read of its run failed.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// What a read is for.
pub(super) enum Reading<A, R> {
    /// Which chain a run belongs to.
    Owner {
        run: RunNumber,
        work: Work<A, R>,
    },
    /// The newest run of a chain: first its number, then its rows.
    Current {
        key: ChainKey,
    },
    Rows {
        key: ChainKey,
        run: RunNumber,
        execution: Option<Bytes>,
        items: Vec<(Bytes, Bytes)>,
    },
    /// A run that is not the newest: first its number, then its rows.
    OlderNumber {
        key: ChainKey,
        work: Work<A, R>,
    },
    OlderRows {
        key: ChainKey,
        run: RunNumber,
        work: Work<A, R>,
    },
    Wakes {
        until: Timestamp,
    },
    Retire {
        key: ChainKey,
        run: RunNumber,
        due: Timestamp,
    },
    /// All runs, for a visibility index that was lost.
    AllRuns,
    /// Runs that the visibility index has yet to hear of.
    Unindexed {
        runs: Vec<(RunNumber, i64)>,
    },
    /// The shard's own rows.
    Shard(Opening),
}

/// What is known so far of a shard that opens.
#[derive(Default)]
pub(super) struct Opening {
    queues: Vec<QueueHash>,
}

/// The reads under way.
pub(super) struct Reads<A, R> {
    next: u64,
    open: BTreeMap<u64, Reading<A, R>>,
    /// Work on older runs that waits until the batch is durable that may have made them older.
    deferred: Vec<(u64, ChainKey, String, Work<A, R>)>,
    /// Work whose read failed and that nobody would ask for again.
    again: Vec<(Pause, Target, Work<A, R>)>,
}

impl<A, R> Default for Reads<A, R> {
    fn default() -> Self {
        Reads { next: 0, open: BTreeMap::new(), deferred: Vec::new(), again: Vec::new() }
    }
}

impl<A, R> Reads<A, R> {
    pub(super) fn is_empty(&self) -> bool {
        self.deferred.is_empty()
            && self.again.is_empty()
            && !self.open.values().any(|reading| !matches!(reading, Reading::Wakes { .. }))
    }

    /// When a read that failed is to be tried again.
    pub(super) fn next(&self) -> Timestamp {
        self.again.iter().map(|(pause, ..)| pause.until()).min().unwrap_or(Timestamp::MAX)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.open.len() >= READS_MAX
    }

    /// Gives up all reads; hands out the work that waited for them. Work that waits at a chain is not here.
    pub(super) fn abandon(&mut self) -> Vec<(Target, Work<A, R>)> {
        let mut waiting = Vec::new();
        for reading in std::mem::take(&mut self.open).into_values() {
            match reading {
                Reading::Owner { run, work } => waiting.push((Target::Run(run), work)),
                Reading::OlderNumber { key, work } | Reading::OlderRows { key, work, .. } => {
                    waiting.push((Target::Chain(key), work));
                }
                _ => {}
            }
        }
        let deferred = std::mem::take(&mut self.deferred);
        waiting.extend(deferred.into_iter().map(|(_, key, _, work)| (Target::Chain(key), work)));
        waiting.extend(std::mem::take(&mut self.again).into_iter().map(|(_, target, work)| (target, work)));
        waiting
    }
}

/// A page of a range.
pub(super) fn page(table: Table, range: Range, rows_max: usize) -> Scan {
    Scan { table, from: range.from, to: range.to, rows_max, bytes_max: PAGE_BYTES, reverse: false }
}

/// The value of a range of one key.
fn only(page: Option<Page>) -> Option<(Bytes, Bytes)> {
    page.and_then(|page| page.rows.into_iter().next())
}

impl<A, R> Shard<A, R> {
    pub(super) fn read(&mut self, scans: Vec<Scan>, reading: Reading<A, R>) {
        self.reads.next += 1;
        self.reads.open.insert(self.reads.next, reading);
        self.actions.push(Action::Read { ticket: self.reads.next, scans });
    }

    pub(super) fn read_done(&mut self, ticket: u64, pages: Result<Vec<Page>, StoreError>, world: &World<'_, R>) {
        let Some(reading) = self.reads.open.remove(&ticket) else { return };
        match reading {
            Reading::Owner { run, work } => self.owner_read(run, work, pages, world),
            Reading::Current { key } => self.current_read(key, pages, world),
            Reading::Rows { key, run, execution, items } => self.rows_read(key, run, execution, items, pages, world),
            Reading::OlderNumber { key, work } => self.older_number_read(key, work, pages, world),
            Reading::OlderRows { key, run, work } => self.older_rows_read(&key, run, work, pages, world),
            Reading::Wakes { until } => self.wakes_read(until, pages),
            Reading::Retire { key, run, due } => self.retire_read(key, run, due, pages, world),
            Reading::AllRuns => self.all_runs_read(pages),
            Reading::Unindexed { runs } => self.unindexed_read(runs, pages),
            Reading::Shard(opening) => self.shard_read(opening, pages, world),
        }
    }

    /// Finds out which chain a run belongs to.
    pub(super) fn load_owner(&mut self, run: RunNumber, work: Work<A, R>) {
        let scan = page(Table::State, Range::one(keys::fixed(self.id, run)), 1);
        self.read(vec![scan], Reading::Owner { run, work });
    }

    fn owner_read(
        &mut self,
        run: RunNumber,
        work: Work<A, R>,
        pages: Result<Vec<Page>, StoreError>,
        world: &World<'_, R>,
    ) {
        match pages.and_then(|pages| only(pages.into_iter().next()).map(|row| owner(&row)).transpose()) {
            Ok(Some(key)) => self.route(Target::Chain(key), work, world),
            Ok(None) => self.run_gone(run, work, world),
            Err(error) => self.refuse_read(Target::Run(run), work, error, world),
        }
    }

    /// Reads a chain for the work that waits for it.
    pub(super) fn load_chain(&mut self, key: ChainKey, work: Work<A, R>) {
        let row = keys::current(self.id, key.namespace, &key.workflow_id);
        self.chains.begin_loading(key.clone(), vec![(Target::Chain(key.clone()), work)]);
        self.read(vec![page(Table::State, Range::one(row), 1)], Reading::Current { key });
    }

    fn current_read(&mut self, key: ChainKey, pages: Result<Vec<Page>, StoreError>, world: &World<'_, R>) {
        let current = pages.and_then(|pages| {
            let row = only(pages.into_iter().next());
            row.map(|(key, value)| record::open::<Current>(&key, value)).transpose()
        });
        match current {
            Ok(None) => self.chain_loaded(&key, Ok(Chain::default()), world),
            Ok(Some(Current { run })) => {
                let run = RunNumber(run);
                let scans = vec![
                    page(Table::State, Range::one(keys::execution(self.id, run)), 1),
                    page(Table::State, keys::items(self.id, run), PAGE_ROWS),
                ];
                self.read(scans, Reading::Rows { key, run, execution: None, items: Vec::new() });
            }
            Err(error) => self.chain_loaded(&key, Err(error), world),
        }
    }

    fn rows_read(
        &mut self,
        key: ChainKey,
        run: RunNumber,
        execution: Option<Bytes>,
        mut items: Vec<(Bytes, Bytes)>,
        pages: Result<Vec<Page>, StoreError>,
        world: &World<'_, R>,
    ) {
        let mut pages = match pages {
            Ok(pages) => pages,
            Err(error) => return self.chain_loaded(&key, Err(error), world),
        };
        let page_of_items = pages.pop().unwrap_or_default();
        let execution = execution.or_else(|| only(pages.pop()).map(|(_, value)| value));
        items.extend(page_of_items.rows);
        if page_of_items.more
            && let Some((last, _)) = items.last()
        {
            let rest = Range { from: keys::after(last), to: keys::items(self.id, run).to };
            let scan = page(Table::State, rest, PAGE_ROWS);
            return self.read(vec![scan], Reading::Rows { key, run, execution, items });
        }
        let loaded = run::read(self.id, run, execution, items);
        self.chain_loaded(&key, loaded.map(|run| Chain { run: Some(run) }), world);
    }

    fn chain_loaded(&mut self, key: &ChainKey, chain: Result<Chain, StoreError>, world: &World<'_, R>) {
        let (chain, error) = match chain {
            Ok(chain) => (Some(chain), None),
            Err(error) => (None, Some(error)),
        };
        for (target, work) in self.chains.end_loading(key, chain) {
            match &error {
                None => self.route(target, work, world),
                Some(error) => self.refuse_read(target, work, error.clone(), world),
            }
        }
    }

    /// A read failed. Callers hear so; what nobody would ask for again is done later.
    fn refuse_read(&mut self, target: Target, work: Work<A, R>, error: StoreError, world: &World<'_, R>) {
        if let Work::Wake { run, .. } = &work {
            return self.wakes.postpone(*run, self.clock + Duration::from_secs(5));
        }
        let error = match error {
            StoreError::Corrupt(why) => {
                tracing::error!(shard = self.id.0, %why, "stored data is damaged");
                Error::Corrupt(why)
            }
            error => Error::Unavailable(error.to_string()),
        };
        let asked_again = !matches!(work, Work::Start { .. } | Work::Call { answer: None, .. });
        if asked_again || matches!(error, Error::Corrupt(_)) {
            return self.refuse(work, error, world);
        }
        self.reads.again.push((Pause::begin(self.now, READ_AGAIN), target, work));
    }

    /// Does again what failed for want of a read.
    pub(super) fn read_again(&mut self, world: &World<'_, R>) {
        if self.reads.again.is_empty() {
            return;
        }
        for (pause, target, work) in std::mem::take(&mut self.reads.again) {
            if pause.is_over(self.now) {
                self.route(target, work, world);
            } else {
                self.reads.again.push((pause, target, work));
            }
        }
    }

    /// Does work that names a run which is not the newest of its chain.
    pub(super) fn older(&mut self, key: &ChainKey, run_id: String, work: Work<A, R>, world: &World<'_, R>) {
        let touched = match self.chains.find(key) {
            Found::Ready => self.chains.get(key).seq,
            _ => 0,
        };
        if touched > self.batch.durable() {
            self.reads.deferred.push((touched, key.clone(), run_id, work));
            return;
        }
        let Ok(id) = uuid::Uuid::parse_str(&run_id) else {
            return self.refuse(work, Rejected::NotFound.into(), world);
        };
        let row = keys::run_id(self.id, key.namespace, RunId(id));
        let reading = Reading::OlderNumber { key: key.clone(), work };
        self.read(vec![page(Table::State, Range::one(row), 1)], reading);
    }

    /// Goes on with what waited for a batch.
    pub(super) fn resume_deferred(&mut self, world: &World<'_, R>) {
        if self.reads.deferred.is_empty() {
            return;
        }
        for (touched, key, run_id, work) in std::mem::take(&mut self.reads.deferred) {
            if touched > self.batch.durable() {
                self.reads.deferred.push((touched, key, run_id, work));
            } else {
                self.older(&key, run_id, work, world);
            }
        }
    }

    fn older_number_read(
        &mut self,
        key: ChainKey,
        work: Work<A, R>,
        pages: Result<Vec<Page>, StoreError>,
        world: &World<'_, R>,
    ) {
        let number = pages.and_then(|pages| {
            let row = only(pages.into_iter().next());
            row.map(|(key, value)| record::open::<Current>(&key, value)).transpose()
        });
        match number {
            Ok(Some(Current { run })) => {
                let run = RunNumber(run);
                let scans = vec![
                    page(Table::State, Range::one(keys::execution(self.id, run)), 1),
                    page(Table::State, keys::items(self.id, run), usize::MAX),
                ];
                self.read(scans, Reading::OlderRows { key, run, work });
            }
            Ok(None) => self.refuse(work, Rejected::NotFound.into(), world),
            Err(error) => self.refuse_read(Target::Chain(key), work, error, world),
        }
    }

    fn older_rows_read(
        &mut self,
        key: &ChainKey,
        number: RunNumber,
        work: Work<A, R>,
        pages: Result<Vec<Page>, StoreError>,
        world: &World<'_, R>,
    ) {
        if pages.as_ref().is_ok_and(|pages| pages.iter().all(|page| page.rows.is_empty())) {
            // Its retention was over between the two reads.
            return self.refuse(work, Rejected::NotFound.into(), world);
        }
        let run = pages.and_then(|mut pages| {
            let items = pages.pop().unwrap_or_default().rows;
            run::read(self.id, number, only(pages.pop()).map(|(_, value)| value), items)
        });
        let run = match run {
            Ok(run) if run.fixed.workflow_id == *key.workflow_id => run,
            Ok(_) => return self.refuse(work, Rejected::NotFound.into(), world),
            Err(error) => return self.refuse_read(Target::Chain(key.clone()), work, error, world),
        };
        if run.execution.delete_requested {
            return self.refuse(work, Rejected::NotFound.into(), world);
        }
        match work {
            Work::Call { input, answer: Some(to), .. } if matches!(*input, Input::Delete { .. }) => {
                self.delete_older(key, run, to, world);
            }
            Work::Look { answer: to, .. } | Work::Watch { answer: to, .. } => {
                let view = RunView { key: self.run_key(number), namespace: key.namespace, run, tail: Vec::new() };
                self.actions.push(Action::Answer { to, result: Ok(Answered::View(Box::new(view))) });
            }
            Work::Call { input, answer: Some(to), .. } => {
                let result = self.closed_reply(*input, run).map(|reply| {
                    let run = self.run_key(number);
                    Answered::Reply(Box::new(Answer { reply, run, tail: Vec::new(), queries: BTreeMap::new() }))
                });
                self.actions.push(Action::Answer { to, result: result.map_err(Error::Rejected) });
            }
            Work::Query { ask, answer } => self.query_run(key, &run, *ask, answer, world),
            Work::Update { wanted, answer } => self.update_older(key, run, *wanted, answer),
            Work::Call { answer: None, .. } | Work::Start { .. } | Work::Wake { .. } => {
                self.refuse(work, Rejected::NotFound.into(), world);
            }
        }
    }

    /// What an input gets that names a run which is closed and no longer the newest: the engine's word, were it the
    /// only one. It can change nothing.
    fn closed_reply(&mut self, input: Input, run: Run) -> Result<Reply, Rejected> {
        self.step_alone(input, run).map(|(_, outcome)| outcome.reply)
    }

    /// A step of a run as if it were the only one of its workflow id.
    pub(super) fn step_alone(&mut self, input: Input, run: Run) -> Result<(Option<Run>, Outcome), Rejected> {
        let mut alone = Chain { run: Some(run) };
        let moment =
            Moment::new(self.clock, self.random.next(), &self.settings.limits, Duration::ZERO, RunNumber::default());
        let step = self.settings.step;
        match catch_unwind(AssertUnwindSafe(|| step(&mut alone, input, &moment))) {
            Ok(stepped) => stepped.map(|outcome| (alone.run, outcome)),
            Err(_) => {
                tracing::error!(shard = self.id.0, "a step on a run that is no longer the newest failed");
                Err(Rejected::Closed)
            }
        }
    }

    /// Reads the shard's own rows: its info, frozen runs, effects under way, and which queues have tasks.
    pub(super) fn load_shard(&mut self) {
        let scans = vec![
            page(Table::Queue, keys::tasks_from(self.id, &[0; 16]), 1),
            page(Table::Queue, keys::kind(self.id, b'O'), PAGE_ROWS),
            page(Table::Queue, keys::kind(self.id, b'D'), PAGE_ROWS),
            page(Table::Queue, keys::kind(self.id, b'V'), PAGE_ROWS),
            page(Table::Meta, Range::one(keys::shard_info(self.id)), 1),
        ];
        self.read(scans, Reading::Shard(Opening::default()));
    }

    fn shard_read(&mut self, mut opening: Opening, pages: Result<Vec<Page>, StoreError>, world: &World<'_, R>) {
        let Phase::Loading(claim) = self.phase else { return };
        let more = pages.and_then(|pages| self.shard_pages(&mut opening, pages));
        match more {
            Ok(scans) if scans.is_empty() => self.open(claim, &opening, world),
            Ok(scans) => self.read(scans, Reading::Shard(opening)),
            Err(error) => {
                tracing::error!(shard = self.id.0, %error, "a shard cannot be opened");
                self.phase = Phase::Closed(Pause::begin(world.now, RETRY));
            }
        }
    }

    /// Takes pages in, each known by its rows; gives what is to be read next.
    fn shard_pages(&mut self, opening: &mut Opening, pages: Vec<Page>) -> Result<Vec<Scan>, StoreError> {
        let mut next = Vec::new();
        for page_read in pages {
            let more = page_read.more;
            let last = page_read.rows.last().map(|(key, _)| key.clone());
            for (key, value) in page_read.rows {
                self.shard_row(opening, &key, value)?;
            }
            let Some(last) = last else { continue };
            match last.get(2) {
                Some(b'T') => next.extend(keys::parse_task(&last).map(|(queue, ..)| {
                    // On to the next queue, or to the next row of this one if its first went.
                    let found = opening.queues.last() == Some(&queue);
                    let end = keys::tasks_after(self.id, &queue, u8::MAX, u64::MAX).from;
                    let from = if found { end } else { keys::after(&last) };
                    page(Table::Queue, Range { from, to: keys::tasks_from(self.id, &queue).to }, 1)
                })),
                Some(kind) if more => {
                    let range = Range { from: keys::after(&last), to: keys::kind(self.id, *kind).to };
                    next.push(page(Table::Queue, range, PAGE_ROWS));
                }
                _ => {}
            }
        }
        Ok(next)
    }

    fn shard_row(&mut self, opening: &mut Opening, key: &Bytes, value: Bytes) -> Result<(), StoreError> {
        match key.get(2) {
            Some(b'T') => {
                // The queue of a worker that is gone is never asked for again, and its rows would stay.
                let expired = TaskRow::read(self.id.0, key, value)?.expires.is_some_and(|at| at <= self.clock);
                if expired {
                    self.batch.delete(Table::Queue, key.clone());
                } else {
                    opening.queues.extend(keys::parse_task(key).map(|(queue, ..)| queue));
                }
            }
            Some(b'O') => {
                if let Some((run, number)) = keys::parse_outbox(key) {
                    self.outbox.add(run, number, record::open(key, value)?);
                }
            }
            Some(b'D') => {
                let parked: Parked = record::open(key, value)?;
                if let Some(run) = keys::parse_run(key) {
                    self.frozen.insert(run, parked.reason);
                }
            }
            Some(b'V') => {
                if let Some(run) = keys::parse_run(key) {
                    self.indexing.leave(run, &record::open(key, value)?);
                }
            }
            _ => self.task_id = self.task_id.max(record::open::<ShardInfo>(key, value)?.task_id),
        }
        Ok(())
    }

    fn open(&mut self, claim: Claim, opening: &Opening, world: &World<'_, R>) {
        self.phase = Phase::Open(claim);
        let directives = world.matching.load_shard(self.id.0, &opening.queues, world.now);
        self.direct(directives);
        self.write_parked();
        self.index_left();
        self.refill_index();
        for (run, number) in self.outbox.numbers() {
            self.effect_durable(run, number);
        }
        while let Some((target, work)) = self.early.pop_front() {
            self.route(target, work, world);
        }
    }
}

fn owner((key, value): &(Bytes, Bytes)) -> Result<ChainKey, StoreError> {
    chain_key(&record::open(key, value.clone())?)
}

/// The chain that a run belongs to.
pub(super) fn chain_key(fixed: &Fixed) -> Result<ChainKey, StoreError> {
    let namespace = uuid::Uuid::parse_str(&fixed.namespace_id)
        .map_err(|_| StoreError::Corrupt(format!("{} is no namespace id", fixed.namespace_id)))?;
    Ok(ChainKey { namespace: NamespaceId(namespace), workflow_id: fixed.workflow_id.as_str().into() })
}

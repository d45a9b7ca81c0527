//! Races that the simulator found, each as a short story of one shard and what its shell does.

mod updates;

use std::{collections::VecDeque, time::Duration};

use futures_util::FutureExt;
use mainspring_api::{
    ids::QueueKind,
    v1::{
        command::{
            Command, ContinueAsNewWorkflowExecutionCommandAttributes, StartTimerCommandAttributes, command::Attributes,
        },
        enums::CommandType,
    },
};
use mainspring_engine::{
    input::{CompleteWorkflowTask, Start, WorkflowTaskToken},
    outcome::{Rejected, Reply, StartedWorkflowTask},
};
use mainspring_matching::{Limits as MatchingLimits, Poll, Version};
use mainspring_store::{Store, Table, keys, memory::MemoryStore, record::TaskRow};
use uuid::Uuid;

use super::*;

const NAMESPACE: NamespaceId = NamespaceId(Uuid::from_u128(7));
const QUEUE: &str = "queue";
const SHARD: ShardId = ShardId(3);
const HOUR: Duration = Duration::from_secs(3_600);

/// A shard with its store; answers and deliveries are kept for the test to look at.
struct Story {
    shard: Shard<u32, u32>,
    matching: Matching<Waiting<u32>>,
    store: MemoryStore,
    now: Timestamp,
    /// So many reads fail from now on.
    reads_fail: u32,
    /// The store takes its time: what it would have said of each commit.
    held: Option<Vec<Event<u32, u32>>>,
    answers: Vec<(u32, Result<Answered, Error>)>,
    delivered: Vec<Delivered>,
}

impl Story {
    fn begin() -> Story {
        let settings = Arc::new(Settings {
            step: mainspring_engine::step,
            limits: Limits::default(),
            retention: Arc::new(|_| Duration::from_secs(60)),
            refill_index: Arc::new(|| false),
            budget: Budget::new(1 << 20),
        });
        let mut story = Story {
            shard: Shard::new(SHARD, settings, 1),
            matching: Matching::new(MatchingLimits::default()),
            store: MemoryStore::automatic(),
            now: Timestamp::from_millis(1_000_000),
            reads_fail: 0,
            held: None,
            answers: Vec::new(),
            delivered: Vec::new(),
        };
        story.event(Event::Open);
        story
    }

    /// One event and all that follows from it.
    fn event(&mut self, event: Event<u32, u32>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let world = World { now: self.now, matching: &self.matching };
            self.shard.handle(event, &world);
            for action in self.shard.flush(&world) {
                self.perform(action, &mut events);
            }
        }
    }

    fn perform(&mut self, action: Action<u32, u32>, events: &mut VecDeque<Event<u32, u32>>) {
        match action {
            Action::Claim => events.extend(self.store.claim(SHARD).now_or_never().map(Event::Claimed)),
            Action::Commit { claim, seq, ops } => {
                self.store.commit(claim, seq, ops, Box::new(|result| assert_eq!(result, Ok(()))));
                let committed = Event::Committed { epoch: claim.epoch, seq, result: Ok(()) };
                match &mut self.held {
                    Some(held) => held.push(committed),
                    None => events.push_back(committed),
                }
            }
            Action::Read { ticket, .. } if self.reads_fail > 0 => {
                self.reads_fail -= 1;
                events.push_back(Event::Read(ticket, Err(StoreError::Unknown("a test".to_owned()))));
            }
            Action::Read { ticket, scans } => {
                events.extend(self.store.scan_all(scans).now_or_never().map(|pages| Event::Read(ticket, pages)));
            }
            Action::Answer { to, result } => self.answers.push((to, result)),
            Action::Deliver { delivered, .. } => self.delivered.push(delivered),
            Action::Direct(directives) => {
                directives.into_iter().for_each(|directive| self.carry_out(directive, events));
            }
            Action::Send { .. } | Action::Index { .. } | Action::Refilled | Action::Fatal(_) => {}
        }
    }

    fn carry_out(&mut self, directive: Directive<Waiting<u32>>, events: &mut VecDeque<Event<u32, u32>>) {
        match directive {
            Directive::Start { queue, task, poller } => {
                let target = Target::Run(RunNumber(task.run));
                events.push_back(Event::Work(target, Work::Start { queue, task, poller }));
            }
            Directive::Scan { queue, scan } => {
                let range = keys::tasks_after(SHARD, &queue.hash(), scan.after.level, scan.after.task_id);
                let page = self.store.scan_all(vec![loading::page(Table::Queue, range, scan.limit)]).now_or_never();
                let rows = page.unwrap().unwrap().remove(0).rows;
                let tasks = rows.into_iter().map(|(key, value)| TaskRow::read(SHARD.0, &key, value).unwrap()).collect();
                let directives = self.matching.scanned(&queue, &scan, Some((tasks, false)), self.now);
                self.perform(Action::Direct(directives), events);
            }
            Directive::Expired { .. } | Directive::End(_) => {}
        }
    }

    fn work(&mut self, work: Work<u32, u32>) {
        self.event(Event::Work(Target::Chain(key()), work));
    }

    fn call(&mut self, input: Input) -> Reply {
        self.work(Work::call(input, Some(0)));
        match self.answers.pop() {
            Some((0, Ok(Answered::Reply(answer)))) => answer.reply,
            other => panic!("no reply: {other:?}"),
        }
    }

    fn start(&mut self) -> String {
        let start = Start {
            namespace_id: NAMESPACE.to_string(),
            namespace: "default".to_owned(),
            workflow_id: "w".to_owned(),
            workflow_type: "W".to_owned(),
            task_queue: QUEUE.to_owned(),
            request_id: "r".to_owned(),
            ..Start::default()
        };
        match self.call(Input::Start(Box::new(start))) {
            Reply::Started(started) => started.run_id,
            other => panic!("not a start: {other:?}"),
        }
    }

    /// A worker lines up; what matching says is done.
    fn poll(&mut self) {
        let queue = QueueName { namespace: NAMESPACE, name: QUEUE.into(), kind: QueueKind::Workflow };
        let handle = Waiting { identity: "worker".into(), request_id: "poll".to_owned(), sticky: false, reply: 0 };
        let poll = Poll { handle, version: Version::UNVERSIONED, identity: "worker".into() };
        let (_, directives) = self.matching.poll(&queue, poll, None, self.now).unwrap();
        let mut events = VecDeque::new();
        self.perform(Action::Direct(directives), &mut events);
        events.into_iter().for_each(|event| self.event(event));
    }

    fn task(&mut self) -> StartedWorkflowTask {
        match self.delivered.pop() {
            Some(Delivered::Workflow { task, .. }) => *task,
            other => panic!("no workflow task: {other:?}"),
        }
    }

    fn complete(&mut self, task: &StartedWorkflowTask, kind: CommandType, attributes: Attributes) {
        let command = Command { command_type: kind as i32, attributes: Some(attributes), ..Command::default() };
        self.complete_with(task, vec![command]);
    }

    fn complete_with(&mut self, task: &StartedWorkflowTask, commands: Vec<Command>) {
        let token = WorkflowTaskToken {
            run_id: task.fixed.run_id.clone(),
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            attempt: task.attempt,
            stamp: task.task.stamp,
        };
        let input = CompleteWorkflowTask { token, commands, ..CompleteWorkflowTask::default() };
        assert!(matches!(self.call(Input::CompleteWorkflowTask(Box::new(input))), Reply::Completed(_)));
    }

    fn delete(&mut self, run_id: &str) {
        assert!(matches!(self.call(Input::Delete { run_id: run_id.to_owned() }), Reply::Done));
    }

    /// The id of the run that is found; an empty id is the newest.
    fn look(&mut self, run_id: &str) -> Result<String, Error> {
        self.work(Work::Look { run_id: run_id.to_owned(), answer: 0 });
        match self.answers.pop() {
            Some((0, Ok(Answered::View(view)))) => Ok(view.run.fixed.run_id.clone()),
            Some((0, Err(error))) => Err(error),
            other => panic!("nobody looked: {other:?}"),
        }
    }

    fn run_id(&mut self) -> String {
        self.look("").unwrap()
    }

    /// Runs that have a hot row.
    fn rows_of_runs(&self) -> usize {
        let scans = vec![loading::page(Table::State, keys::kind(SHARD, b'X'), 100)];
        self.store.scan_all(scans).now_or_never().unwrap().unwrap().remove(0).rows.len()
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.event(Event::Tick);
    }
}

fn key() -> ChainKey {
    ChainKey { namespace: NAMESPACE, workflow_id: "w".into() }
}

fn continue_as_new() -> (CommandType, Attributes) {
    let a = ContinueAsNewWorkflowExecutionCommandAttributes::default();
    let attributes = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(a);
    (CommandType::ContinueAsNewWorkflowExecution, attributes)
}

/// Who watches a run sees that run's end when another takes its place, and not the other run.
#[test]
fn a_watcher_sees_the_end_of_the_run_it_asked_for() {
    let mut story = Story::begin();
    let run_id = story.start();
    story.poll();
    let task = story.task();
    story.work(Work::Watch { run_id: run_id.clone(), next_event_id: 100, answer: 9 });
    assert!(story.answers.is_empty());
    let (kind, attributes) = continue_as_new();
    story.complete(&task, kind, attributes);
    let Some((9, Ok(Answered::View(view)))) = story.answers.pop() else { panic!("the watcher hears nothing") };
    assert_eq!((&view.run.fixed.run_id, view.run.execution.next_event_id), (&run_id, 6));
    assert!(!view.run.execution.new_run_id.is_empty());
}

/// A task row whose run could not be read is tried again: matching has forgotten it, and nobody else would.
#[test]
fn a_task_outlives_a_read_that_fails() {
    let mut story = Story::begin();
    story.start();
    story.shard.evict_all();
    story.reads_fail = 1;
    story.poll();
    assert!(story.delivered.is_empty());
    story.pass(2);
    assert_eq!(story.task().scheduled_event_id, 2);
}

/// No later for a clock that is put back meanwhile, which would keep a node from stopping for as long.
#[test]
fn a_clock_that_is_put_back_makes_no_pause_longer() {
    let mut story = Story::begin();
    story.start();
    story.shard.evict_all();
    story.reads_fail = 1;
    story.poll();
    assert!(!story.shard.is_idle());
    story.now = story.now - HOUR;
    story.event(Event::Tick);
    assert_eq!(story.task().scheduled_event_id, 2);
    assert!(story.shard.is_idle());
}

/// Nor is a query given up before its time because the shard's own time, which never goes back, is past that.
#[test]
fn a_query_waits_for_a_worker_though_the_clock_was_put_back() {
    let mut story = Story::begin();
    story.start();
    story.poll();
    let task = story.task();
    story.complete_with(&task, vec![]);
    story.now = story.now - HOUR;
    let ask = Ask {
        run_id: String::new(),
        query: Default::default(),
        reject: Default::default(),
        deadline: story.now + Duration::from_secs(10),
    };
    story.work(Work::Query { ask: Box::new(ask), answer: 9 });
    story.pass(5);
    story.poll();
    assert!(matches!(story.delivered.pop(), Some(Delivered::Query(_))));
}

/// So is a wake-up: its row stays where it was, before the time of the second try.
#[test]
fn a_wake_up_outlives_a_read_that_fails() {
    let mut story = Story::begin();
    story.start();
    story.poll();
    let task = story.task();
    let timer = StartTimerCommandAttributes {
        timer_id: "t".to_owned(),
        start_to_fire_timeout: Some(mainspring_api::time::duration(Duration::from_secs(1))),
    };
    story.complete(&task, CommandType::StartTimer, Attributes::StartTimerCommandAttributes(timer));
    story.shard.evict_all();
    story.reads_fail = 1;
    story.pass(1);
    story.pass(6);
    story.poll();
    assert_eq!(story.task().started_event_id, 8, "the timer has fired");
}

/// An older run can go between the two reads that look for it: then it is not found, and nothing is damaged.
#[test]
fn a_run_that_goes_while_it_is_looked_for_is_not_found() {
    let mut story = Story::begin();
    let run_id = story.start();
    story.poll();
    let task = story.task();
    let (kind, attributes) = continue_as_new();
    story.complete(&task, kind, attributes);
    let world = World { now: story.now, matching: &story.matching };
    story.shard.handle(Event::Work(Target::Chain(key()), Work::Look { run_id, answer: 9 }), &world);
    let mut reads = story.shard.flush(&world).into_iter();
    let Some(Action::Read { ticket, scans }) = reads.next() else { panic!("the run's number is read") };
    let number = story.store.scan_all(scans).now_or_never().unwrap();
    story.shard.handle(Event::Read(ticket, number), &world);
    let mut reads = story.shard.flush(&world).into_iter();
    let Some(Action::Read { ticket, .. }) = reads.next() else { panic!("its rows are read") };
    story.event(Event::Read(ticket, Ok(vec![Page::default(), Page::default()])));
    let (_, result) = story.answers.pop().unwrap();
    assert_eq!(result.unwrap_err(), Error::Rejected(mainspring_engine::Rejected::NotFound));
}

/// A deleted run is gone for everybody at once, and all its rows soon after: the newest one and an earlier one alike.
#[test]
fn a_deleted_run_leaves_nothing() {
    let mut story = Story::begin();
    let first = story.start();
    story.poll();
    let task = story.task();
    let (kind, attributes) = continue_as_new();
    story.complete(&task, kind, attributes);
    let second = story.run_id();
    assert_ne!(second, first);
    // The shard reads which runs are due, and begins to wake them.
    story.pass(1);
    story.delete(&first);
    assert_eq!(story.look(&first), Err(Error::Rejected(Rejected::NotFound)));
    story.pass(1);
    assert_eq!(story.rows_of_runs(), 1, "the run that followed stays");
    assert_eq!(story.run_id(), second);
    story.delete(&second);
    assert_eq!(story.look(""), Err(Error::Rejected(Rejected::NotFound)));
    story.pass(1);
    assert_eq!(story.rows_of_runs(), 0);
    story.work(Work::call(Input::Delete { run_id: first }, Some(0)));
    assert!(matches!(story.answers.pop(), Some((0, Err(Error::Rejected(Rejected::NotFound))))));
}

/// What was marked for deletion goes, be it that the shard was lost meanwhile.
#[test]
fn a_deletion_outlives_the_shards_memory() {
    let mut story = Story::begin();
    let run_id = story.start();
    story.delete(&run_id);
    // Nothing has passed since: the rows are there, and the mark on them.
    assert_eq!(story.rows_of_runs(), 1);
    let settings = story.shard.settings.clone();
    story.shard = Shard::new(SHARD, settings, 2);
    story.event(Event::Open);
    assert_eq!(story.look(&run_id), Err(Error::Rejected(Rejected::NotFound)));
    story.pass(1);
    assert_eq!(story.rows_of_runs(), 0);
}

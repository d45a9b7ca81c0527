//! A step that fails outright: the shard reloads and goes on, and the third time leaves that run alone.

use std::{
    collections::BTreeMap,
    panic,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::FutureExt;
use mainspring_api::ids::NamespaceId;
use mainspring_engine::{
    Chain, Input, Limits, Moment, Outcome, Rejected,
    input::{Signal, Start},
};
use mainspring_history::{
    Answered, Budget, Error, Waiting,
    shard::{Action, ChainKey, Event, Settings, Shard, Target, Work, World},
};
use mainspring_matching::Matching;
use mainspring_rt::Timestamp;
use mainspring_store::{ShardId, Store, memory::MemoryStore};

const SHARD: ShardId = ShardId(7);
const NAMESPACE: NamespaceId = NamespaceId(uuid::Uuid::from_u128(7));

type Matchings = Matching<Waiting<()>>;

/// A shard on a store that answers at once.
struct Node {
    shard: Shard<u32, ()>,
    store: MemoryStore,
    matching: Matchings,
    now: Timestamp,
    calls: u32,
    answers: BTreeMap<u32, Result<Answered, Error>>,
}

impl Node {
    fn on(store: MemoryStore) -> Node {
        let settings = Settings {
            step: fragile_step,
            limits: Limits::default(),
            retention: Arc::new(|_| std::time::Duration::from_secs(60)),
            refill_index: Arc::new(|| false),
            budget: Budget::new(1 << 20),
        };
        let mut world = Node {
            shard: Shard::new(SHARD, Arc::new(settings), 1),
            store,
            matching: Matching::new(mainspring_matching::Limits::default()),
            now: Timestamp::from_millis(1_000_000),
            calls: 0,
            answers: BTreeMap::new(),
        };
        world.send(Event::Open);
        world
    }

    fn send(&mut self, event: Event<u32, ()>) {
        let mut events = vec![event];
        while !events.is_empty() {
            let world = World { now: self.now, matching: &self.matching };
            events.drain(..).for_each(|event| self.shard.handle(event, &world));
            let actions = self.shard.flush(&world);
            for action in actions {
                events.extend(self.perform(action));
            }
            if events.is_empty() && self.shard.next_wake() <= self.now {
                events.push(Event::Tick);
            }
        }
    }

    fn perform(&mut self, action: Action<u32, ()>) -> Option<Event<u32, ()>> {
        match action {
            Action::Claim => self.store.claim(SHARD).now_or_never().map(Event::Claimed),
            Action::Commit { claim, seq, ops } => {
                let result = Arc::new(Mutex::new(None));
                let told = result.clone();
                let done = move |result| *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                self.store.commit(claim, seq, ops, Box::new(done));
                let result = result.lock().unwrap_or_else(PoisonError::into_inner).take();
                result.map(|result| Event::Committed { epoch: claim.epoch, seq, result })
            }
            Action::Read { ticket, scans } => {
                self.store.scan_all(scans).now_or_never().map(|pages| Event::Read(ticket, pages))
            }
            Action::Answer { to, result } => {
                self.answers.insert(to, result);
                None
            }
            _ => None,
        }
    }

    fn call(&mut self, workflow_id: &str, input: Input) -> Result<(), Error> {
        self.calls += 1;
        let key = ChainKey { namespace: NAMESPACE, workflow_id: workflow_id.into() };
        self.send(Event::Work(Target::Chain(key), Work::call(input, Some(self.calls))));
        self.answers.remove(&self.calls).expect("every call is answered").map(|_| ())
    }

    fn start(&mut self, workflow_id: &str) -> Result<(), Error> {
        let start = Start {
            namespace_id: NAMESPACE.to_string(),
            namespace: "default".to_owned(),
            workflow_id: workflow_id.to_owned(),
            workflow_type: "W".to_owned(),
            task_queue: "q".to_owned(),
            request_id: format!("{workflow_id}/{}", self.calls),
            ..Start::default()
        };
        self.call(workflow_id, Input::Start(Box::new(start)))
    }

    fn signal(&mut self, workflow_id: &str, name: &str) -> Result<(), Error> {
        self.call(workflow_id, Input::Signal(Box::new(Signal { name: name.to_owned(), ..Signal::default() })))
    }
}

/// The engine, but for one signal that it cannot stand.
fn fragile_step(chain: &mut Chain, input: Input, at: &Moment<'_>) -> Result<Outcome, Rejected> {
    if matches!(&input, Input::Signal(signal) if signal.name == "bomb") {
        // What is left behind must not matter.
        chain.run = None;
        panic!("planted");
    }
    mainspring_engine::step(chain, input, at)
}

/// Goal: two failures cost a reload each, the third parks the run, and its neighbours never notice.
#[test]
fn a_run_whose_steps_fail_is_parked_and_the_shard_goes_on() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let mut world = Node::on(MemoryStore::automatic());
    world.start("bad").expect("a start");
    world.start("good").expect("a start");
    for _ in 0..3 {
        assert!(matches!(world.signal("bad", "bomb"), Err(Error::Internal(_))));
        world.signal("good", "fine").expect("the neighbour is untouched");
    }
    panic::set_hook(hook);
    let parked = world.signal("bad", "fine");
    assert!(matches!(&parked, Err(Error::Internal(why)) if why.contains("parked")), "{parked:?}");

    // A new process knows it too.
    let mut world = Node::on(world.store.clone());
    let parked = world.signal("bad", "fine");
    assert!(matches!(&parked, Err(Error::Internal(why)) if why.contains("parked")), "{parked:?}");
    world.signal("good", "fine").expect("the neighbour is untouched");
}

/// Goal: a failure or two park nothing.
#[test]
fn a_run_survives_two_failures() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let mut world = Node::on(MemoryStore::automatic());
    world.start("bad").expect("a start");
    for _ in 0..2 {
        assert!(world.signal("bad", "bomb").is_err());
    }
    panic::set_hook(hook);
    world.signal("bad", "fine").expect("it is as it was before");
}

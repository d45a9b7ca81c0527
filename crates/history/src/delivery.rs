//! Long polls: a place in line, and the task in hand that goes back unless it was sent.

use std::sync::Arc;

use mainspring_engine::input::{Input, TaskRef};
use mainspring_matching::{Poll, PollerId, QueueName, Refused, Version};
use tokio::sync::oneshot;

use crate::{
    answer::{Delivered, Error},
    node::Node,
    shard::{Event, Target, Waiting, Work},
};

/// A poller in line, as matching keeps it.
pub type Line = Waiting<oneshot::Sender<Option<Delivery>>>;

/// A worker asks for a task.
#[derive(Clone, Debug)]
pub struct PollTask {
    pub queue: QueueName,
    /// The queue is a worker's own.
    pub sticky: bool,
    /// The worker's name for itself.
    pub identity: String,
    pub version: Version,
    /// Tasks a second that the worker allows the whole queue; `None` says nothing.
    pub rate: Option<f64>,
}

/// A started task in hand. Dropped without [`Delivery::sent`] it goes back: to the next poller, the same attempt.
pub struct Delivery {
    delivered: Option<Delivered>,
    node: Arc<Node>,
}

impl Delivery {
    pub(crate) fn new(node: Arc<Node>, delivered: Delivered) -> Delivery {
        Delivery { delivered: Some(delivered), node }
    }

    /// The task.
    pub fn task(&self) -> &Delivered {
        self.delivered.as_ref().expect("it is there until it was sent")
    }

    /// The answer is with the transport: from here on only timeouts decide.
    pub fn sent(mut self) {
        self.delivered = None;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Some(delivered) = self.delivered.take() else { return };
        #[cfg(planted)]
        if mainspring_rt::planted::is(10) && matches!(delivered, Delivered::Activity { .. }) {
            return;
        }
        let run = delivered.run();
        let event = match delivered {
            Delivered::Workflow { task, .. } => undelivered(task.task),
            Delivered::Activity { task, .. } => undelivered(task.task),
            Delivered::Query(query) => Event::QueryUndelivered(query.id),
        };
        self.node.post(run.shard, event);
    }
}

fn undelivered<A, R>(task: TaskRef) -> Event<A, R> {
    Event::Work(Target::Run(task.run), Work::call(Input::Undelivered(task), None))
}

pub(crate) async fn poll(node: &Arc<Node>, poll: PollTask) -> Result<Option<Delivery>, Error> {
    let (reply, answered) = oneshot::channel();
    let identity: Arc<str> = poll.identity.into();
    let request_id = node.new_request_id();
    let handle = Waiting { identity: identity.clone(), request_id, sticky: poll.sticky, reply };
    let entry = Poll { handle, version: poll.version, identity };
    let (id, directives) = node.matching.poll(&poll.queue, entry, poll.rate, node.rt.now()).map_err(refused)?;
    let mut place = Place { node, queue: poll.queue, id: Some(id) };
    Node::carry_out(node, directives);
    let delivery = answered.await.unwrap_or(None);
    place.id = None;
    Ok(delivery)
}

/// A place in line; dropped, it is free.
struct Place<'n> {
    node: &'n Arc<Node>,
    queue: QueueName,
    id: Option<PollerId>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // If it is reserved already, its delivery finds nobody and goes back.
            self.node.matching.cancel(&self.queue, id, self.node.rt.now());
        }
    }
}

fn refused(refused: Refused) -> Error {
    match refused {
        Refused::TooManyPollers => Error::Busy("too many pollers wait on this task queue"),
        Refused::TooManyQueues => Error::Busy("too many task queues are polled"),
        Refused::Shut => Error::Unavailable("the server is shutting down".to_owned()),
    }
}

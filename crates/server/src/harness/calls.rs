//! Calls under way: those that do something hold the clock, those of clients that wait let it skip, and polls of workers do
//! neither.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use bytes::Bytes;
use mainspring_api::v1::workflowservice::{
    GetWorkflowExecutionHistoryRequest, PollActivityTaskQueueRequest, PollNexusTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
};
use prost::Message as _;
use tonic::Status;

use super::Harness;

/// What a call is to the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Something is done, or a worker is asked.
    Does,
    /// A client waits for what happens to a workflow.
    Waits,
    /// The worker with this identity waits for a task.
    Polls(String),
}

impl Kind {
    fn of(method: &str, request: &Bytes) -> Kind {
        match method {
            "PollWorkflowTaskQueue" => {
                Kind::Polls(PollWorkflowTaskQueueRequest::decode(request.clone()).unwrap_or_default().identity)
            }
            "PollActivityTaskQueue" => {
                Kind::Polls(PollActivityTaskQueueRequest::decode(request.clone()).unwrap_or_default().identity)
            }
            "PollNexusTaskQueue" => {
                Kind::Polls(PollNexusTaskQueueRequest::decode(request.clone()).unwrap_or_default().identity)
            }
            "UpdateWorkflowExecution" | "PollWorkflowExecutionUpdate" | "ExecuteMultiOperation" => Kind::Waits,
            "GetWorkflowExecutionHistory" => {
                let request = GetWorkflowExecutionHistoryRequest::decode(request.clone()).unwrap_or_default();
                if request.wait_new_event { Kind::Waits } else { Kind::Does }
            }
            _ => Kind::Does,
        }
    }
}

impl Harness {
    /// Lets a call through and keeps count of it; or spoils it.
    ///
    /// # Errors
    /// Those of the call, and what a test asked for.
    pub(crate) async fn through<T>(
        &self,
        path: &str,
        request: &Bytes,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let method = path.rsplit('/').next().unwrap_or_default();
        match Kind::of(method, request) {
            Kind::Polls(identity) => self.poll(identity, self.spoiled(method, call)).await,
            kind => {
                let under_way = UnderWay::begin(self.clone(), kind);
                under_way.lead(self.spoiled(method, call)).await
            }
        }
    }

    /// The call, if no test wants it to be otherwise.
    async fn spoiled<T>(&self, method: &str, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let (delay, failure) = self.change(|state| state.faults.take(method));
        if let Some(delay) = delay {
            let rt = self.rt();
            rt.sleep_unskipped(rt.now() + delay).await;
        }
        match failure {
            Some(failure) => Err(failure),
            None => call.await,
        }
    }

    /// A poll ends when its worker is dead, and a dead worker polls no more.
    async fn poll<T>(&self, identity: String, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let mut lost = self.0.lost.subscribe();
        let polling = Polling::begin(self.clone(), identity);
        tokio::select! {
            biased;
            // It cannot fail: we hold the sender.
            _ = lost.wait_for(|lost| lost.contains(&polling.identity)) => Err(Status::cancelled("the worker is dead")),
            answered = call => answered,
        }
    }
}

/// A poll under way, counted until it is dropped.
struct Polling {
    harness: Harness,
    identity: String,
}

impl Polling {
    fn begin(harness: Harness, identity: String) -> Polling {
        harness.0.polls.send_modify(|polls| *polls.entry(identity.clone()).or_default() += 1);
        Polling { harness, identity }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.harness.0.polls.send_modify(|polls| {
            if let Some(count) = polls.get_mut(&self.identity) {
                *count -= 1;
                if *count == 0 {
                    polls.remove(&self.identity);
                }
            }
        });
    }
}

/// A call under way, counted until it is dropped.
///
/// One that waits does so between its polls. From the moment in which it is woken it does something again: otherwise the
/// clock could skip on while an answer is on its way to the client that waited for it.
struct UnderWay(Arc<Counted>);

struct Counted {
    harness: Harness,
    kind: Kind,
    /// Both change with the harness's state alone.
    waits: AtomicBool,
    woken: AtomicBool,
}

impl UnderWay {
    fn begin(harness: Harness, kind: Kind) -> UnderWay {
        harness.change(|state| {
            state.under_way += 1;
            state.turns += 1;
        });
        UnderWay(Arc::new(Counted { harness, kind, waits: AtomicBool::new(false), woken: AtomicBool::new(false) }))
    }

    async fn lead<T>(&self, call: impl Future<Output = T>) -> T {
        if self.0.kind != Kind::Waits {
            return call.await;
        }
        let mut call = pin!(call);
        std::future::poll_fn(|context| {
            self.0.woken.store(false, Ordering::SeqCst);
            let waker = Waker::from(Arc::new(Alarm { call: self.0.clone(), waker: context.waker().clone() }));
            let polled = call.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_pending() {
                self.0.wait();
            }
            polled
        })
        .await
    }
}

impl Counted {
    fn wait(&self) {
        self.harness.change(|state| {
            if !self.woken.load(Ordering::SeqCst) && !self.waits.swap(true, Ordering::SeqCst) {
                state.under_way -= 1;
                state.waiting += 1;
            }
        });
    }

    fn woke(&self) {
        self.harness.change(|state| {
            self.woken.store(true, Ordering::SeqCst);
            if self.waits.swap(false, Ordering::SeqCst) {
                state.waiting -= 1;
                state.under_way += 1;
                state.turns += 1;
            }
        });
    }
}

/// Wakes the task of a call, which does something from then on.
struct Alarm {
    call: Arc<Counted>,
    waker: Waker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.call.woke();
        self.waker.wake_by_ref();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Who wakes it later changes nothing any more.
        self.0.woke();
        self.0.harness.change(|state| {
            state.under_way -= 1;
            state.turns += 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_wait_are_told_from_those_that_do_not() {
        let read = |wait_new_event| {
            let request = GetWorkflowExecutionHistoryRequest { wait_new_event, ..Default::default() };
            Kind::of("GetWorkflowExecutionHistory", &Bytes::from(request.encode_to_vec()))
        };
        assert_eq!((read(true), read(false)), (Kind::Waits, Kind::Does));
        assert_eq!(Kind::of("QueryWorkflow", &Bytes::new()), Kind::Does);
        let poll = PollActivityTaskQueueRequest { identity: "worker-1".to_owned(), ..Default::default() };
        let poll = Bytes::from(poll.encode_to_vec());
        assert_eq!(Kind::of("PollActivityTaskQueue", &poll), Kind::Polls("worker-1".to_owned()));
    }

    #[tokio::test]
    async fn polls_end_with_their_worker() {
        let harness = Harness::new();
        let polls = ["worker-1", "worker-2"].map(|identity| {
            let poll = PollActivityTaskQueueRequest { identity: identity.to_owned(), ..Default::default() };
            (harness.clone(), Bytes::from(poll.encode_to_vec()))
        });
        let mut waiting = polls.each_ref().map(|(harness, poll)| {
            Box::pin(harness.through("PollActivityTaskQueue", poll, std::future::pending::<Result<(), Status>>()))
        });
        let mut context = Context::from_waker(Waker::noop());
        for poll in &mut waiting {
            assert!(poll.as_mut().poll(&mut context).is_pending());
        }
        let [first, second] = &mut waiting;
        let losing = harness.lose_worker("default", "worker-1", "sticky-1");
        let (_, ended) = tokio::join!(losing, async {
            let ended = first.await;
            ended.map_err(|status| status.code())
        });
        assert_eq!(ended, Err(tonic::Code::Cancelled));
        assert!(second.as_mut().poll(&mut context).is_pending());
    }

    /// How many calls do something, and how many wait.
    fn counts(harness: &Harness) -> (usize, usize) {
        let state = harness.state();
        (state.under_way, state.waiting)
    }

    #[tokio::test]
    async fn a_call_waits_from_its_first_rest_until_it_is_woken() {
        let harness = Harness::new();
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let call = async { told.await.map_err(|_| Status::internal("nobody told")) };
        let request = Bytes::new();
        let mut call = Box::pin(harness.through("/service/UpdateWorkflowExecution", &request, call));
        assert_eq!(counts(&harness), (0, 0));
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert_eq!(counts(&harness), (0, 1));
        tell.send(()).unwrap();
        assert_eq!(counts(&harness), (1, 0), "its answer is on the way");
        assert!(call.as_mut().poll(&mut context).is_ready());
        drop(call);
        assert_eq!(counts(&harness), (0, 0));
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_counts_no_more() {
        let harness = Harness::new();
        let request = Bytes::new();
        for method in ["QueryWorkflow", "UpdateWorkflowExecution"] {
            let mut call = Box::pin(harness.through(method, &request, std::future::pending::<Result<(), Status>>()));
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_ne!(counts(&harness), (0, 0));
            drop(call);
            assert_eq!(counts(&harness), (0, 0));
        }
    }
}

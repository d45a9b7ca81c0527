//! Long polls: tried again for ever, with pauses that grow while they fail, until the worker is to stop.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tonic::Code;

use crate::{
    client::{Class, RpcError, RpcRetry, Unary, jittered},
    worker::{
        FAREWELL, Shared,
        pollers::{Brought, Scaler},
        stopped,
    },
};

/// How long the pollers of a queue wait after polls that failed one after another.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after this failure.
    fn pause(&mut self, error: &RpcError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let initial = match error.code() {
            Code::ResourceExhausted => Duration::from_secs(1),
            _ => Duration::from_millis(200),
        };
        let retry = RpcRetry { initial, backoff: 2.0, max_interval: Duration::from_secs(10), ..RpcRetry::default() };
        jittered(retry.pause_after(self.failures))
    }
}

/// Polls until there is an answer, which may be empty; nothing when the worker is to stop. `scaler` hears of refusals.
pub(crate) async fn poll<Q: Unary>(
    shared: &Shared,
    request: &Q,
    backoff: &Mutex<Backoff>,
    scaler: &Scaler,
) -> Option<Q::Answer> {
    let mut stopping = shared.stopping.clone();
    loop {
        let call = shared.client.rpc().call_as(Class::TaskPoll, request);
        tokio::pin!(call);
        let answer = tokio::select! {
            biased;
            answer = &mut call => answer,
            () = stopped(&mut stopping) => {
                if !shared.polls_end_themselves() {
                    return None;
                }
                // A task may be on its way; dropping the poll would lose it until its timeout.
                return tokio::time::timeout(FAREWELL, call).await.ok()?.ok();
            }
        };
        let error = match answer {
            Ok(answer) => {
                locked(backoff).failures = 0;
                return Some(answer);
            }
            Err(error) => error,
        };
        // A poll that the server or a proxy ended is as good as an empty one, but not when it ends at once.
        if error.code() == Code::DeadlineExceeded {
            continue;
        }
        if error.code() == Code::ResourceExhausted {
            scaler.learn(Brought::Refusal);
        }
        let pause = locked(backoff).pause(&error);
        if error.is_transient() || error.code() == Code::Cancelled {
            tracing::debug!(%error, ?pause, "poll failed");
        } else {
            tracing::warn!(%error, ?pause, "poll refused");
        }
        tokio::select! {
            () = stopped(&mut stopping) => return None,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn locked(backoff: &Mutex<Backoff>) -> MutexGuard<'_, Backoff> {
    backoff.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_start_longer_when_the_server_is_busy() {
        let mut backoff = Backoff::default();
        let gone = RpcError::new("Poll", Status::unavailable("gone"));
        let first = backoff.pause(&gone);
        for _ in 0..20 {
            backoff.pause(&gone);
        }
        let last = backoff.pause(&gone);
        assert!(first < Duration::from_millis(250) && last > Duration::from_secs(7) && last <= Duration::from_secs(12));
        let busy = RpcError::new("Poll", Status::resource_exhausted("busy"));
        assert!(Backoff::default().pause(&busy) > Duration::from_millis(700));
    }
}

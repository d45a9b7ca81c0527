//! `temporal.api.testservice.v1.TestService`: by which SDKs in other languages move the clock of their tests.
//!
//! The clock skips while the count of locks is zero. SDKs lock it, and unlock it while their clients wait.

use bytes::Bytes;
use mainspring_api::time;
use mainspring_frontend::Answer;
use mainspring_rt::Timestamp;
use prost::Message;
use tonic::Status;

use super::Harness;

/// The service's name.
pub(crate) const TEST_SERVICE: &str = "temporal.api.testservice.v1.TestService";

/// `SleepRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Sleep {
    #[prost(message, optional, tag = "1")]
    duration: Option<prost_types::Duration>,
}

/// `SleepUntilRequest`, and `GetCurrentTimeResponse` too.
#[derive(Clone, PartialEq, Eq, Message)]
struct Time {
    #[prost(message, optional, tag = "1")]
    at: Option<prost_types::Timestamp>,
}

impl Harness {
    /// Answers a call of the service.
    ///
    /// # Errors
    /// It is unlocked more often than it was locked, or there is no such method.
    pub(crate) async fn test_service(&self, method: &str, request: Bytes) -> Result<Answer, Status> {
        let rt = &self.rt();
        match method {
            "LockTimeSkipping" => self.lock(),
            "UnlockTimeSkipping" => self.unlock()?,
            "Sleep" => {
                let at = self.after(request)?;
                let _sleeping = self.due_at(at);
                rt.sleep_until(at).await;
            }
            "SleepUntil" => {
                let until: Time = decode(request)?;
                let at = time::from_timestamp(until.at.as_ref());
                let _sleeping = self.due_at(at);
                rt.sleep_until(at).await;
            }
            "UnlockTimeSkippingWithSleep" => {
                let at = self.after(request)?;
                // Dropped after the lock is there again: until then the clock stands at this time.
                let _sleeping = self.due_at(at);
                self.unlock()?;
                let _locked_again = Relock(self);
                rt.sleep_until(at).await;
            }
            "GetCurrentTime" => {
                let now = Time { at: Some(time::timestamp(self.now())) };
                return Ok(Answer::from(Bytes::from(now.encode_to_vec())));
            }
            _ => return Err(Status::unimplemented(format!("unknown method {method} for service {TEST_SERVICE}"))),
        }
        Ok(Answer::from(Bytes::new()))
    }

    /// A deadline like others: the clock skips to it if it may, and not on before it is dropped.
    fn due_at(&self, at: Timestamp) -> Sleeping<'_> {
        let key = self.change(|state| {
            let key = (at, state.new_number());
            state.sleeps.insert(key);
            key
        });
        Sleeping { harness: self, key }
    }

    fn lock(&self) {
        self.change(|state| state.locks += 1);
    }

    fn unlock(&self) -> Result<(), Status> {
        self.change(|state| {
            let left = state.locks.checked_sub(1);
            state.locks = left.ok_or_else(|| Status::failed_precondition("Time skipping is not locked."))?;
            Ok(())
        })
    }

    fn after(&self, request: Bytes) -> Result<Timestamp, Status> {
        let sleep: Sleep = decode(request)?;
        Ok(self.now() + time::from_duration(sleep.duration.as_ref()))
    }
}

/// A sleep; dropped, nobody sleeps any more.
struct Sleeping<'h> {
    harness: &'h Harness,
    key: (Timestamp, u64),
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        self.harness.change(|state| state.sleeps.remove(&self.key));
    }
}

/// Locks it again, however the call ends.
struct Relock<'h>(&'h Harness);

impl Drop for Relock<'_> {
    fn drop(&mut self) {
        self.0.lock();
    }
}

fn decode<M: Message + Default>(request: Bytes) -> Result<M, Status> {
    M::decode(request).map_err(|error| Status::invalid_argument(format!("the request cannot be decoded: {error}")))
}

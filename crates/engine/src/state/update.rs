//! What a run remembers of an update: accepted ones are stored, those that no worker has answered are not.

use mainspring_api::v1::update;

/// An update that the workflow accepted.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Update {
    #[prost(int64, tag = "1")]
    pub accepted_event_id: i64,
    /// 0 while its handler runs.
    #[prost(int64, tag = "2")]
    pub completed_event_id: i64,
}

/// An update that no worker has answered yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    pub request: update::Request,
    /// The workflow task that it went out with, by its started event's id; 0 when it is to go out with the next.
    pub sent_with: i64,
}

impl Admitted {
    /// A worker has it.
    pub fn is_sent(&self) -> bool {
        self.sent_with != 0
    }

    /// What names it among the updates of its run.
    pub fn update_id(&self) -> &str {
        update_id(&self.request)
    }
}

/// The id of an update; the frontend has seen to it that there is one.
pub(crate) fn update_id(request: &update::Request) -> &str {
    request.meta.as_ref().map(|meta| meta.update_id.as_str()).unwrap_or_default()
}

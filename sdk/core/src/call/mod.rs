//! Calls: what is to be run, with which arguments and options. Describing one does nothing; a context of a workflow or
//! a client runs it.
//!
//! The macros make functions that describe calls with the arguments of the definition. For code of other languages,
//! or types known at run time only, there are [`Call`], [`Signal`], [`Query`] and [`Update`] by name.
//!
//! - `activity`: [`ActivityCall`] and its options; `workflow`: [`WorkflowCall`]; `message`: signals, queries, updates.
//! - `attributes`: search attributes and priorities.

mod activity;
mod attributes;
mod message;
mod workflow;

use std::{collections::BTreeMap, marker::PhantomData};

use mainspring_api::v1::common;

pub use self::{
    activity::{ActivityCall, ActivityOptions, CancelKind, IntoActivityCall},
    attributes::{Priority, SearchAttributes},
    message::{Query, QueryCall, Signal, SignalCall, Update, UpdateCall},
    workflow::{IdReuse, IntoWorkflowCall, OnConflict, ParentClose, WorkflowCall, WorkflowOptions},
};
use crate::{
    payload::{Args, Payload, ToPayload},
    retry::RetryPolicy,
};

/// Values that travel with a call beside its arguments, for interceptors: tracing contexts, tenants.
pub type Headers = BTreeMap<String, Payload>;

/// A call of an activity or a workflow by its type's name, with a result of type `O`.
///
/// The first option that only one of the two has makes it an [`ActivityCall`] or a [`WorkflowCall`]; without one it is
/// taken for what it is given to.
///
/// ```
/// use std::time::Duration;
/// use mainspring_sdk::Call;
///
/// let price = Call::named("PriceQuote").arg(3).arg("sku-7").returns::<f64>().start_to_close(Duration::from_secs(5));
/// let order = Call::named("GoWorkflow").arg(1).id("g-1").queue("go");
/// ```
#[derive(Clone, Debug)]
#[must_use = "this only describes a call; give it to a client or to the context of a workflow"]
pub struct Call<O = ()> {
    name: String,
    args: Args,
    header: Headers,
    queue: Option<String>,
    retry: Option<RetryPolicy>,
    priority: Option<Priority>,
    summary: Option<String>,
    returns: PhantomData<fn() -> O>,
}

impl Call {
    /// A call of the type with this name.
    pub fn named(name: impl Into<String>) -> Call {
        Call {
            name: name.into(),
            args: Args::new(),
            header: Headers::new(),
            queue: None,
            retry: None,
            priority: None,
            summary: None,
            returns: PhantomData,
        }
    }
}

impl<O> Call<O> {
    /// Adds an argument.
    pub fn arg(mut self, value: impl ToPayload) -> Self {
        self.args.push(value);
        self
    }

    /// Sets the result's type.
    pub fn returns<P>(self) -> Call<P> {
        let Call { name, args, header, queue, retry, priority, summary, returns: _ } = self;
        Call { name, args, header, queue, retry, priority, summary, returns: PhantomData }
    }

    /// Sets the task queue.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = Some(name.into());
        self
    }

    /// Sets when it is tried again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Sets its place among others on its queue.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets a line that the user interface shows.
    pub fn summary(mut self, text: impl Into<String>) -> Self {
        self.summary = Some(text.into());
        self
    }

    /// Adds a value that travels beside the arguments.
    pub fn header(mut self, key: impl Into<String>, value: Payload) -> Self {
        self.header.insert(key.into(), value);
        self
    }
}

/// The wire form of headers; absent when there are none.
pub(crate) fn header_to_wire(header: Headers) -> Option<common::Header> {
    (!header.is_empty()).then_some(common::Header { fields: header })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_named_call_becomes_what_it_is_given_to() {
        let call = Call::named("Price").arg(3).arg("sku").returns::<u64>().queue("go").summary("s");
        let activity = call.clone().into_activity_call();
        assert_eq!((activity.name(), activity.options().queue.as_deref()), ("Price", Some("go")));
        let workflow: WorkflowCall<u64> = call.id("w-1");
        assert_eq!(workflow.options().summary.as_deref(), Some("s"));
        assert_eq!(workflow.into_parts().1.into_payloads().map(|args| args.len()), Ok(2));
    }

    #[test]
    fn an_argument_without_a_payload_is_reported_with_its_place() {
        let keys_are_lists = BTreeMap::from([(vec![1], 2)]);
        let call = ActivityCall::<()>::new("a").arg(1).arg(&keys_are_lists).start_to_close(Duration::from_secs(1));
        let error = call.into_parts().1.into_payloads().unwrap_err().to_string();
        assert!(error.starts_with("argument 2: cannot write"), "{error}");
    }
}

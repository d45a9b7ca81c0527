//! [`WorkflowDef`]: a workflow's name and how a run of it begins.

use std::{collections::BTreeMap, fmt, future::Future, panic::Location, sync::Arc};

use crate::{
    error::Result,
    payload::{Payload, RawArgs},
    workflow::{
        context::Ctx,
        fault::{At, Fault},
        signal::HandlerRun,
    },
};

type Begin = Arc<dyn Fn(Ctx, RawArgs) -> Result<HandlerRun<Payload>> + Send + Sync>;

/// A definition of a workflow, to be registered with a worker. The macros make it: `greet::def()`.
///
/// ```
/// use mainspring_sdk::{Call, payload::ToPayload, workflow::WorkflowDef};
///
/// let greet = WorkflowDef::new("greet", |cx, args| {
///     let name: String = args.get(0)?;
///     Ok(async move {
///         cx.sleep(std::time::Duration::from_secs(1)).await?;
///         Ok(format!("Hello, {name}!").to_payload()?)
///     })
/// });
/// ```
#[derive(Clone)]
#[must_use = "register it with a worker"]
pub struct WorkflowDef {
    name: String,
    begin: Begin,
    fails_on: FailsOn,
    at: At,
}

/// What ends a workflow that by default only fails its workflow task, to be tried again with better code.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FailsOn {
    pub(crate) panics: bool,
    pub(crate) nondeterminism: bool,
}

impl WorkflowDef {
    /// A workflow of this name. `begin` reads the arguments, sets handlers, and gives the future that is the run.
    /// Errors that have no better place name the line of this call.
    #[track_caller]
    pub fn new<F, R>(name: impl Into<String>, begin: F) -> WorkflowDef
    where
        F: Fn(Ctx, RawArgs) -> Result<R> + Send + Sync + 'static,
        R: Future<Output = Result<Payload>> + 'static,
    {
        let begin: Begin = Arc::new(move |cx, args| Ok(Box::pin(begin(cx, args)?)));
        WorkflowDef { name: name.into(), begin, fails_on: FailsOn::default(), at: Location::caller() }
    }

    /// Lets a panic fail the workflow. By default it fails the workflow task, which is tried again.
    pub fn fail_on_panic(mut self) -> WorkflowDef {
        self.fails_on.panics = true;
        self
    }

    /// Lets a difference between history and code fail the workflow. By default it fails the workflow task.
    pub fn fail_on_nondeterminism(mut self) -> WorkflowDef {
        self.fails_on.nondeterminism = true;
        self
    }

    /// The workflow's type.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn begin(&self, cx: Ctx, args: RawArgs) -> Result<HandlerRun<Payload>> {
        (self.begin)(cx, args)
    }

    /// Where it is defined.
    pub(crate) fn at(&self) -> At {
        self.at
    }

    pub(crate) fn fails_on(&self) -> FailsOn {
        self.fails_on
    }
}

impl fmt::Debug for WorkflowDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowDef").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Definitions by name, with one for all other types.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkflowSet {
    pub(crate) by_name: Arc<BTreeMap<String, WorkflowDef>>,
    pub(crate) fallback: Option<WorkflowDef>,
}

impl WorkflowSet {
    pub(crate) fn find(&self, name: &str) -> Result<&WorkflowDef, Fault> {
        self.by_name.get(name).or(self.fallback.as_ref()).ok_or_else(|| Fault::UnknownType {
            name: name.to_owned(),
            known: self.by_name.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }
}

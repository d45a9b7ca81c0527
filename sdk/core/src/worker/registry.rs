//! What a worker has to run, by name.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use crate::{
    activity::{Activities, ActivityDef},
    worker::WorkerError,
    workflow::{WorkflowDef, def::WorkflowSet},
};

/// What a worker has to run.
#[derive(Debug, Default)]
pub struct Registry {
    activities: BTreeMap<String, ActivityDef>,
    activity_fallback: Option<ActivityDef>,
    workflows: BTreeMap<String, WorkflowDef>,
    workflow_fallback: Option<WorkflowDef>,
    clash: Option<WorkerError>,
}

/// What can be given to [`WorkerBuilder::register`](crate::worker::WorkerBuilder::register).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be registered with a worker",
    note = "register definitions: `name::def()` of an `#[activity]` or a `#[workflow]`, or a value with `#[activities]`"
)]
pub trait Register {
    /// Adds it.
    fn add_to(self, registry: &mut Registry);
}

impl Register for ActivityDef {
    fn add_to(self, registry: &mut Registry) {
        match registry.activities.entry(self.name().to_owned()) {
            Entry::Vacant(free) => {
                free.insert(self);
            }
            Entry::Occupied(_) => registry.clash("activity", self.name()),
        }
    }
}

impl<T: Activities> Register for T {
    fn add_to(self, registry: &mut Registry) {
        Arc::new(self).add_to(registry);
    }
}

impl<T: Activities> Register for Arc<T> {
    fn add_to(self, registry: &mut Registry) {
        self.definitions().add_to(registry);
    }
}

impl Register for WorkflowDef {
    fn add_to(self, registry: &mut Registry) {
        match registry.workflows.entry(self.name().to_owned()) {
            Entry::Vacant(free) => {
                free.insert(self);
            }
            Entry::Occupied(_) => registry.clash("workflow", self.name()),
        }
    }
}

impl<R: Register> Register for Vec<R> {
    fn add_to(self, registry: &mut Registry) {
        for definition in self {
            definition.add_to(registry);
        }
    }
}

impl Registry {
    /// Remembers the first name that was registered twice; the worker is not built then.
    pub(crate) fn clash(&mut self, kind: &'static str, name: &str) {
        self.clash.get_or_insert_with(|| WorkerError::Clash { kind, name: name.to_owned() });
    }

    /// Takes over all of `others`, in the place of what has the same name here.
    pub(crate) fn replace(&mut self, others: Registry) {
        self.activities.extend(others.activities);
        self.workflows.extend(others.workflows);
        self.clash = self.clash.take().or(others.clash);
    }

    pub(crate) fn set_activity_fallback(&mut self, definition: ActivityDef) {
        self.activity_fallback = Some(definition);
    }

    pub(crate) fn check(&self) -> Result<(), WorkerError> {
        match &self.clash {
            Some(clash) => Err(clash.clone()),
            None => Ok(()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.activities.is_empty() && self.activity_fallback.is_none() && !self.has_workflows()
    }

    pub(crate) fn set_workflow_fallback(&mut self, definition: WorkflowDef) {
        self.workflow_fallback = Some(definition);
    }

    pub(crate) fn has_workflows(&self) -> bool {
        !self.workflows.is_empty() || self.workflow_fallback.is_some()
    }

    /// The workflows, for the lanes and the replayer.
    pub(crate) fn workflows(&self) -> WorkflowSet {
        WorkflowSet { by_name: Arc::new(self.workflows.clone()), fallback: self.workflow_fallback.clone() }
    }

    /// The activities, for the part of the worker that runs them.
    pub(crate) fn activities(&self) -> ActivitySet {
        ActivitySet { activities: self.activities.clone(), fallback: self.activity_fallback.clone() }
    }
}

/// The activities of a worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActivitySet {
    activities: BTreeMap<String, ActivityDef>,
    fallback: Option<ActivityDef>,
}

impl ActivitySet {
    /// The activity of this type, or the one for all others.
    pub(crate) fn find(&self, name: &str) -> Option<&ActivityDef> {
        self.activities.get(name).or(self.fallback.as_ref())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.activities.is_empty() && self.fallback.is_none()
    }

    /// The types that are known, for people.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.activities.keys().map(String::as_str).collect();
        names.join(", ")
    }
}

//! Messages to a workflow: signals, queries and updates.

use std::marker::PhantomData;

use crate::{
    call::Headers,
    payload::{Args, Payload, ToPayload},
};

/// Signals by name; see [`Signal::named`].
#[derive(Clone, Copy, Debug)]
pub struct Signal;

/// Queries by name; see [`Query::named`].
#[derive(Clone, Copy, Debug)]
pub struct Query;

/// Updates by name; see [`Update::named`].
#[derive(Clone, Copy, Debug)]
pub struct Update;

impl Signal {
    /// A signal with this name.
    ///
    /// ```
    /// use mainspring_sdk::Signal;
    ///
    /// let approve = Signal::named("approve").arg("bob");
    /// ```
    pub fn named(name: impl Into<String>) -> SignalCall {
        SignalCall::new(name)
    }
}

impl Query {
    /// A query with this name.
    pub fn named(name: impl Into<String>) -> QueryCall<()> {
        QueryCall::new(name)
    }
}

impl Update {
    /// An update with this name.
    pub fn named(name: impl Into<String>) -> UpdateCall<()> {
        UpdateCall::new(name)
    }
}

/// A signal with its arguments. It does nothing until it is sent.
#[derive(Clone, Debug)]
#[must_use = "this only describes a signal; send it with a workflow's handle"]
pub struct SignalCall {
    name: String,
    args: Args,
    header: Headers,
}

/// A query with its arguments and an answer of type `O`. It does nothing until it is sent.
#[derive(Clone, Debug)]
#[must_use = "this only describes a query; send it with a workflow's handle"]
pub struct QueryCall<O> {
    name: String,
    args: Args,
    header: Headers,
    returns: PhantomData<fn() -> O>,
}

/// An update with its arguments and a result of type `O`. It does nothing until it is sent.
#[derive(Clone, Debug)]
#[must_use = "this only describes an update; send it with a workflow's handle"]
pub struct UpdateCall<O> {
    name: String,
    args: Args,
    header: Headers,
    id: Option<String>,
    returns: PhantomData<fn() -> O>,
}

impl SignalCall {
    /// A signal with this name, without arguments.
    pub fn new(name: impl Into<String>) -> SignalCall {
        SignalCall { name: name.into(), args: Args::new(), header: Headers::new() }
    }

    /// Adds an argument.
    pub fn arg(mut self, value: impl ToPayload) -> Self {
        self.args.push(value);
        self
    }

    /// Adds a value that travels beside the arguments.
    pub fn header(mut self, key: impl Into<String>, value: Payload) -> Self {
        self.header.insert(key.into(), value);
        self
    }

    /// The signal's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, the arguments and the headers.
    pub fn into_parts(self) -> (String, Args, Headers) {
        (self.name, self.args, self.header)
    }
}

impl<O> QueryCall<O> {
    /// A query with this name, without arguments.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), args: Args::new(), header: Headers::new(), returns: PhantomData }
    }

    /// Adds an argument.
    pub fn arg(mut self, value: impl ToPayload) -> Self {
        self.args.push(value);
        self
    }

    /// Sets the answer's type.
    pub fn returns<P>(self) -> QueryCall<P> {
        QueryCall { name: self.name, args: self.args, header: self.header, returns: PhantomData }
    }

    /// Adds a value that travels beside the arguments.
    pub fn header(mut self, key: impl Into<String>, value: Payload) -> Self {
        self.header.insert(key.into(), value);
        self
    }

    /// The query's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, the arguments and the headers.
    pub fn into_parts(self) -> (String, Args, Headers) {
        (self.name, self.args, self.header)
    }
}

impl<O> UpdateCall<O> {
    /// An update with this name, without arguments.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), args: Args::new(), header: Headers::new(), id: None, returns: PhantomData }
    }

    /// Adds an argument.
    pub fn arg(mut self, value: impl ToPayload) -> Self {
        self.args.push(value);
        self
    }

    /// Sets the result's type.
    pub fn returns<P>(self) -> UpdateCall<P> {
        UpdateCall { name: self.name, args: self.args, header: self.header, id: self.id, returns: PhantomData }
    }

    /// Sets the update's id: sent twice under one id, it is done once.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Adds a value that travels beside the arguments.
    pub fn header(mut self, key: impl Into<String>, value: Payload) -> Self {
        self.header.insert(key.into(), value);
        self
    }

    /// The update's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The update's id, if one was set.
    pub fn update_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The name, the arguments and the headers.
    pub fn into_parts(self) -> (String, Args, Headers) {
        (self.name, self.args, self.header)
    }
}

//! Handlers of messages that are wrong.

use mainspring::prelude::*;

#[workflow]
struct QueryThatChanges;

#[workflow]
impl QueryThatChanges {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }

    #[query]
    fn count(&mut self) -> u64 {
        7
    }
}

#[workflow]
struct QueryThatWaits;

#[workflow]
impl QueryThatWaits {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }

    #[query]
    async fn count(&self) -> u64 {
        7
    }
}

#[workflow]
struct QueryWithContext;

#[workflow]
impl QueryWithContext {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }

    #[query]
    fn count(&self, _cx: Ctx) -> u64 {
        7
    }
}

#[workflow]
struct QueryWithoutAnswer;

#[workflow]
impl QueryWithoutAnswer {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }

    #[query]
    fn count(&self) {}
}

#[workflow]
struct SignalAndQuery;

#[workflow]
impl SignalAndQuery {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }

    #[signal]
    #[query]
    fn count(&self) -> u64 {
        7
    }
}

#[workflow]
struct SignalWithValidator;

#[workflow]
impl SignalWithValidator {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }

    #[signal(validate = fine)]
    fn count(&self) {}
}

#[workflow]
struct SignalThatChanges;

#[workflow]
impl SignalThatChanges {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }

    #[signal]
    fn count(&mut self) {}
}

#[workflow]
struct SignalThatBorrows;

#[workflow]
impl SignalThatBorrows {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }

    #[signal]
    fn count(&self, _by: &str) {}
}

#[workflow]
struct UpdateThatChanges;

#[workflow]
impl UpdateThatChanges {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }

    #[update]
    async fn count(&mut self) -> Result<()> {
        Ok(())
    }
}

#[workflow]
struct UpdateWithUnknownOption;

#[workflow]
impl UpdateWithUnknownOption {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        Ok(())
    }

    #[update(validator = fine)]
    async fn count(&self) -> Result<()> {
        Ok(())
    }
}

struct Misplaced;

impl Misplaced {
    #[signal]
    fn approve(&self) {}

    #[query]
    fn count(&self) -> u64 {
        7
    }

    #[update]
    fn add(&self) {}
}

fn main() {}

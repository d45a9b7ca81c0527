//! The scenarios by name: each measures one thing and answers with one report.
//!
//! [`context`] is what they act in; the other files hold one family each.

mod calls;
mod churn;
pub(crate) mod context;
mod history;
mod list;
mod round_trip;
mod sleepers;
mod steady;
mod steps;
mod tenants;

use anyhow::Result;
use clap::ValueEnum;

use crate::args::Sizes;
use crate::figures::report::Report;
use crate::scenario::context::Context;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// GetSystemInfo: the floor of one call.
    Ping,
    /// StartWorkflowExecution, no worker.
    Start,
    /// Start, one workflow task, close.
    Echo,
    /// Start, one activity, close: the headline.
    Activity,
    /// Workflows of many activities one after another; the operation is a step.
    Sequence,
    /// Workflows of many activities at once; the operation is an activity, the latency that of the workflow.
    Fanout,
    /// Signals to open workflows while a worker takes them in.
    Signal,
    /// Queries of open workflows.
    Query,
    /// Updates of open workflows, to completion.
    Update,
    /// Workflows that sleep for a while; the latency is how late they wake.
    Timer,
    /// Workflows that sleep for hours: what each costs in memory, and that the server still answers.
    Sleepers,
    /// Fetches of a long history, page by page.
    History,
    /// One workflow that grows step by step: do the last ones cost what the first ones did?
    Longhistory,
    /// Workflows started without a worker, then drained.
    Backlog,
    /// A page of 100 from a list with a filter, and counts.
    List,
    /// Many namespaces and task queues at once.
    Tenants,
    /// Workers that come and vanish, in polls and with tasks in hand; no workflow may be lost.
    Churn,
    /// Mixed load at a fixed pace for minutes: latency and memory over time.
    Steady,
}

impl Scenario {
    /// What runs when nothing is named: some minutes in all.
    const USUAL: &'static [Scenario] = &[
        Scenario::Activity,
        Scenario::Echo,
        Scenario::Start,
        Scenario::Sequence,
        Scenario::Fanout,
        Scenario::Signal,
        Scenario::Query,
        Scenario::Update,
        Scenario::History,
        Scenario::Backlog,
        Scenario::List,
        Scenario::Tenants,
    ];

    /// What runs when nothing is named.
    pub(crate) fn unnamed(sizes: &Sizes) -> &'static [Scenario] {
        if sizes.quick { Scenario::value_variants() } else { Scenario::USUAL }
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The numbers of clients to run with, one after another; what is given wins where the scenario has clients.
    pub(crate) fn parallels(self, sizes: &Sizes) -> Vec<usize> {
        let usual: &[usize] = match self {
            Scenario::Activity if !sizes.quick => &[1, 16, 64],
            Scenario::History | Scenario::List => &[1],
            Scenario::Sequence | Scenario::Fanout | Scenario::Longhistory | Scenario::Backlog => return vec![1],
            Scenario::Timer | Scenario::Sleepers => &[64],
            _ if sizes.quick => &[4],
            _ => &[16],
        };
        if sizes.parallel.is_empty() { usual.to_vec() } else { sizes.parallel.clone() }
    }

    /// True for what the null server can go through.
    pub(crate) fn fits_null_server(self) -> bool {
        matches!(self, Scenario::Ping | Scenario::Start | Scenario::Echo | Scenario::Activity)
    }

    /// # Errors
    /// When it cannot be carried through; errors of single operations are in the report.
    pub(crate) async fn run(self, context: &Context) -> Result<Report> {
        match self {
            Scenario::Ping => round_trip::ping(context).await,
            Scenario::Start => round_trip::start(context).await,
            Scenario::Echo => round_trip::echo(context).await,
            Scenario::Activity => round_trip::activity(context).await,
            Scenario::Sequence => steps::sequence(context).await,
            Scenario::Fanout => steps::fan_out(context).await,
            Scenario::Longhistory => steps::long_history(context).await,
            Scenario::Backlog => steps::backlog(context).await,
            Scenario::Signal => calls::signal(context).await,
            Scenario::Query => calls::query(context).await,
            Scenario::Update => calls::update(context).await,
            Scenario::Timer => sleepers::timer(context).await,
            Scenario::Sleepers => sleepers::sleepers(context).await,
            Scenario::History => history::run(context).await,
            Scenario::List => list::run(context).await,
            Scenario::Tenants => tenants::run(context).await,
            Scenario::Churn => churn::run(context).await,
            Scenario::Steady => steady::run(context).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_form_leaves_nothing_out() {
        let quick = Sizes { quick: true, ..Sizes::default() };
        assert_eq!(Scenario::unnamed(&quick).len(), Scenario::value_variants().len());
        assert!(Scenario::unnamed(&Sizes::default()).len() < Scenario::value_variants().len());
    }

    #[test]
    fn given_parallelism_wins_where_there_are_clients() {
        let given = Sizes { parallel: vec![2, 3], ..Sizes::default() };
        assert_eq!(Scenario::Activity.parallels(&given), [2, 3]);
        assert_eq!(Scenario::Sequence.parallels(&given), [1]);
        assert_eq!(Scenario::Activity.parallels(&Sizes::default()), [1, 16, 64]);
    }
}

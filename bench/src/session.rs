//! Runs scenarios, on one server or on several in turn, and prints what they found.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::args::{RunOptions, Server};
use crate::figures::compare::{medians, order};
use crate::figures::report::Report;
use crate::figures::table::{Group, render};
use crate::scenario::Scenario;
use crate::scenario::context::Context;
use crate::{note, null, say};

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// # Errors
/// When any operation of any run failed: then the figures say nothing.
pub(crate) async fn run(options: &RunOptions) -> Result<()> {
    let scenarios: &[Scenario] =
        if options.scenarios.is_empty() { Scenario::unnamed(&options.sizes) } else { &options.scenarios };
    for server in &options.servers {
        wait_until_ready(server, options).await?;
    }
    let mut groups: Vec<Group> = Vec::new();
    for scenario in scenarios {
        for parallel in scenario.parallels(&options.sizes) {
            groups.push(compare(*scenario, parallel, options).await);
        }
    }
    if !options.json {
        say(&render(&groups));
    }
    let failed = groups.iter().flatten().filter(|(_, report)| report.errors > 0).count();
    if failed > 0 {
        bail!("{failed} of the runs had errors, so their figures say nothing");
    }
    Ok(())
}

/// All rounds of one scenario on all servers.
async fn compare(scenario: Scenario, parallel: usize, options: &RunOptions) -> Group {
    let servers = &options.servers;
    let mut rounds: Vec<Vec<Report>> = vec![Vec::new(); servers.len()];
    for round in 0..options.rounds as usize {
        for turn in order(servers.len(), round) {
            let server = &servers[turn];
            if !options.json {
                note(&format!("{} on {}", scenario.name(), server.name));
            }
            let report = run_once(scenario, parallel, server, options).await;
            if options.json {
                say(&report.json(&server.name).to_string());
            }
            rounds[turn].push(report);
        }
    }
    servers.iter().zip(rounds).map(|(server, rounds)| (server.name.clone(), medians(&rounds))).collect()
}

async fn run_once(scenario: Scenario, parallel: usize, server: &Server, options: &RunOptions) -> Report {
    let name = scenario.name();
    let report = async {
        let context = Context::connect(server, options, parallel).await?;
        if context.server_version == null::VERSION && !scenario.fits_null_server() {
            return Ok(Report::skipped(&name, "not in the null server"));
        }
        Box::pin(scenario.run(&context)).await
    };
    report.await.unwrap_or_else(|error: anyhow::Error| Report::failed(&name, &format!("{error:#}")))
}

async fn wait_until_ready(server: &Server, options: &RunOptions) -> Result<()> {
    let began = Instant::now();
    while let Err(error) = Context::connect(server, options, 1).await {
        if began.elapsed() > PATIENCE {
            return Err(error.context(format!("{} is not ready", server.name)));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

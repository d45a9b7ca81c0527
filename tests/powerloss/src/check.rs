//! Compares what was acknowledged with what is there.

use std::collections::BTreeMap;
use std::time::Duration;

use mainspring_api::v1::{
    enums::{EventType, WorkflowExecutionStatus},
    history::{HistoryEvent, history_event::Attributes},
};

use tonic::Code;

use crate::client::{Client, read_text};
use crate::load::{Errand, Errands};

/// Lists follow the commits; this is how far they may be behind, on a busy machine.
const LISTED_WITHIN: Duration = Duration::from_secs(20);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Histories by workflow id.
pub type Histories = BTreeMap<String, Vec<HistoryEvent>>;

/// The histories of these errands; one that the server does not know has none.
///
/// # Errors
/// When one cannot be read.
pub async fn histories(client: &Client, errands: &Errands) -> anyhow::Result<Histories> {
    let mut histories = Histories::new();
    for id in errands.keys() {
        match client.history(id).await {
            Ok(history) => drop(histories.insert(id.clone(), history)),
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => anyhow::bail!("the history of {id}: {status}"),
        }
    }
    Ok(histories)
}

/// What was acknowledged and is not there, a line each, whatever else is still to be done. Signals and
/// results are left out: they are held back, and in no history, while a worker has a workflow task in its hands.
pub fn lost(errands: &Errands, histories: &Histories) -> Vec<String> {
    let mut problems = Vec::new();
    for (id, errand) in errands {
        let history = histories.get(id).map(Vec::as_slice).unwrap_or_default();
        problems.extend(lost_of(errand, history).into_iter().map(|problem| format!("{id}: {problem}")));
    }
    problems
}

/// Waits until lists show each of these as completed, and nothing else.
///
/// # Errors
/// When they do not in time; the text says what is wrong.
pub async fn wait_until_listed(client: &Client, ids: &[String]) -> anyhow::Result<()> {
    let over = tokio::time::Instant::now() + LISTED_WITHIN;
    loop {
        let problem = match listing_problem(client, ids).await? {
            None => return Ok(()),
            Some(problem) => problem,
        };
        if tokio::time::Instant::now() >= over {
            anyhow::bail!("lists: {problem}");
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

async fn listing_problem(client: &Client, ids: &[String]) -> anyhow::Result<Option<String>> {
    let listed = client.list().await?;
    let mut shown = BTreeMap::new();
    for info in &listed {
        let id = info.execution.as_ref().map(|execution| execution.workflow_id.clone()).unwrap_or_default();
        if shown.insert(id.clone(), info.status()).is_some() {
            return Ok(Some(format!("{id} is shown twice")));
        }
    }
    let wrong = ids.iter().find(|id| shown.get(*id) != Some(&WorkflowExecutionStatus::Completed));
    Ok(match wrong {
        Some(id) => Some(format!("{id} is shown as {:?}", shown.get(id))),
        None if shown.len() != ids.len() => Some(format!("{} are shown, there are {}", shown.len(), ids.len())),
        None => None,
    })
}

/// Everything that is wrong with these histories, a line each. The errands are all done by then.
pub fn judge(errands: &Errands, histories: &Histories) -> Vec<String> {
    let mut problems = lost(errands, histories);
    for (id, errand) in errands {
        let history = histories.get(id).map(Vec::as_slice).unwrap_or_default();
        problems.extend(problems_of(errand, history).into_iter().map(|problem| format!("{id}: {problem}")));
    }
    problems
}

fn lost_of(errand: &Errand, history: &[HistoryEvent]) -> Vec<String> {
    let mut lost = Vec::new();
    let run_id = history.iter().find_map(run_id_of);
    if errand.run_id.is_some() && errand.run_id != run_id {
        lost.push(format!("run {:?} was acknowledged, {run_id:?} is there", errand.run_id));
    }
    for started in &errand.workflow_tasks {
        if !history.iter().any(|event| completes(event, *started)) {
            lost.push(format!("the completion of workflow task {started} was acknowledged and is not there"));
        }
    }
    lost
}

fn problems_of(errand: &Errand, history: &[HistoryEvent]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut expect = |holds: bool, problem: String| problems.extend((!holds).then_some(problem));
    let count = |kind: EventType| history.iter().filter(|event| event.event_type() == kind).count();

    let gap = history.iter().zip(1..).find(|(event, id)| event.event_id != *id);
    expect(gap.is_none(), format!("its events have a gap or a double at {:?}", gap.map(|(_, id)| id)));
    expect(count(EventType::WorkflowExecutionStarted) == 1, "it was not started once".to_owned());
    let heard: Vec<String> = history.iter().filter_map(signal_of).collect();
    for (said, _) in &errand.signals {
        let times = heard.iter().filter(|heard| *heard == said).count();
        expect(times == 1, format!("signal {said:?} was heard {times} times"));
    }
    expect(heard.len() == errand.signals.len(), "it heard signals that nobody sent".to_owned());
    expect(count(EventType::ActivityTaskScheduled) == 1, "its activity was not scheduled once".to_owned());
    let results: Vec<String> = history.iter().filter_map(result_of).collect();
    expect(results.len() == 1, format!("its activity completed with {results:?}"));
    expect(
        errand.results.len() <= 1 && errand.results.iter().all(|known| results.contains(known)),
        format!("its activity's results {:?} were acknowledged, {results:?} are there", errand.results),
    );
    expect(completed(history), "it is not completed".to_owned());
    problems
}

/// The last event says that the workflow is done.
pub fn completed(history: &[HistoryEvent]) -> bool {
    history.last().is_some_and(|event| event.event_type() == EventType::WorkflowExecutionCompleted)
}

fn run_id_of(event: &HistoryEvent) -> Option<String> {
    match &event.attributes {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => {
            Some(started.original_execution_run_id.clone())
        }
        _ => None,
    }
}

fn signal_of(event: &HistoryEvent) -> Option<String> {
    match &event.attributes {
        Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) => Some(read_text(signal.input.as_ref())),
        _ => None,
    }
}

fn result_of(event: &HistoryEvent) -> Option<String> {
    match &event.attributes {
        Some(Attributes::ActivityTaskCompletedEventAttributes(done)) => Some(read_text(done.result.as_ref())),
        _ => None,
    }
}

fn completes(event: &HistoryEvent, started_event_id: i64) -> bool {
    matches!(&event.attributes, Some(Attributes::WorkflowTaskCompletedEventAttributes(done))
        if done.started_event_id == started_event_id)
}

#[cfg(test)]
mod tests;

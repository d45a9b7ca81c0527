//! The history of a run: what the server knows, and all that a worker needs to go on.

use mainspring::api::enums::EventType;
use mainspring::prelude::*;

/// Prints each event.
pub(crate) async fn show(client: &Client, workflow_id: &str) -> Result<()> {
    let mut events = client.workflow::<()>(workflow_id).history();
    while let Some(event) = events.next().await? {
        println!("{:5} {}", event.event_id, name(event.event_type));
    }
    Ok(())
}

/// Prints how many events there are of each type, in the order of their first.
pub(crate) async fn count(client: &Client, workflow_id: &str) -> Result<()> {
    let mut counts = Vec::<(i32, usize)>::new();
    let mut events = client.workflow::<()>(workflow_id).history();
    while let Some(event) = events.next().await? {
        match counts.iter_mut().find(|(kind, _)| *kind == event.event_type) {
            Some((_, count)) => *count += 1,
            None => counts.push((event.event_type, 1)),
        }
    }
    for (kind, count) in counts {
        println!("{count:5} {}", name(kind));
    }
    Ok(())
}

/// `ACTIVITY_TASK_SCHEDULED`, as the protocol writes it but for a prefix that all have.
fn name(kind: i32) -> String {
    let kind = EventType::try_from(kind).unwrap_or_default().as_str_name();
    kind.trim_start_matches("EVENT_TYPE_").to_owned()
}

//! Deletion at a caller's word.

mod world;

use mainspring_api::v1::enums::{WorkflowExecutionStatus as Status, WorkflowIdReusePolicy as Reuse};
use mainspring_engine::{Input, Rejected, Reply};
use world::{World, commands::*, world};

fn delete(w: &mut World, id: &str) -> Result<Reply, Rejected> {
    w.input(id, Input::Delete { run_id: String::new() })
}

/// An open run is terminated, and goes at once; a second deletion finds nothing.
#[test]
fn an_open_run_ends_and_goes() {
    let mut w = world();
    w.start("w");
    w.poll("w");
    delete(&mut w, "w").unwrap();
    w.check("w", "1 Started 2 S 3 B 4 F(FORCE_CLOSE_COMMAND) 5 Terminated");
    assert_eq!(w.run("w").status(), Status::Terminated);
    assert_eq!(delete(&mut w, "w").unwrap_err(), Rejected::NotFound);
    w.seconds(0);
    assert!(w.chains["w"].run.is_none(), "it did not wait for its retention");
}

/// A closed run that waits for its retention goes at once.
#[test]
fn a_closed_run_goes_before_its_time() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![complete()]);
    w.seconds(60);
    assert!(w.chains["w"].run.is_some());
    delete(&mut w, "w").unwrap();
    w.seconds(0);
    assert!(w.chains["w"].run.is_none() && w.expired.len() == 1);
}

/// Until its rows are gone it is as good as gone: no request of it is known, no policy minds it.
#[test]
fn a_run_that_is_being_deleted_stands_in_nobodys_way() {
    let mut w = world();
    let first = w.start_with("w", |s| s.request_id = "r".into());
    delete(&mut w, "w").unwrap();
    let next = w.start_with("w", |s| (s.request_id, s.reuse_policy) = ("r".into(), Reuse::RejectDuplicate));
    assert!(next.started && next.run_id != first.run_id);
    w.check("w", "1 Started 2 S");
}

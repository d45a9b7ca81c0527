//! Deletion at a caller's word: an open run is terminated first, and what a closed one has goes at once.

use crate::{
    outcome::{Rejected, Reply},
    transition::Transition,
    workflow::terminate,
};

/// The reason that a run gives which was open when it was to be deleted.
const REASON: &str = "Delete workflow execution";

/// Ends the run if need be; its retention is over.
///
/// # Errors
/// It is being deleted already, and as good as gone.
pub(crate) fn delete(t: &mut Transition<'_>) -> Result<Reply, Rejected> {
    if t.run.execution.delete_requested {
        return Err(Rejected::NotFound);
    }
    if t.run.is_open() {
        terminate::by_server_now(t, REASON);
    }
    t.run.execution.delete_requested = true;
    t.mark_dirty();
    Ok(Reply::Done)
}

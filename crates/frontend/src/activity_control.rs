//! What operators do with the activities of a workflow: PauseActivity, UnpauseActivity, ResetActivity.

use mainspring_api::v1::{
    common::WorkflowExecution,
    workflowservice::{
        PauseActivityRequest, PauseActivityResponse, ResetActivityRequest, ResetActivityResponse,
        UnpauseActivityRequest, UnpauseActivityResponse, pause_activity_request, reset_activity_request,
        unpause_activity_request,
    },
};
use mainspring_engine::input::{ActivitiesNamed, ActivityControl, ControlActivities, Input};
use tonic::Status;

use crate::{
    Frontend,
    error::{self, About, invalid},
    validate,
};

impl Frontend {
    pub(crate) async fn pause_activity(&self, request: PauseActivityRequest) -> Result<PauseActivityResponse, Status> {
        use pause_activity_request::Activity;
        let which = request.activity.map(|activity| match activity {
            Activity::Id(id) => ActivitiesNamed::Id(id),
            Activity::Type(name) => ActivitiesNamed::Type(name),
        });
        let control = ActivityControl::Pause { identity: request.identity, reason: request.reason };
        self.control_activities(&request.namespace, request.execution, which, control).await?;
        Ok(PauseActivityResponse {})
    }

    pub(crate) async fn unpause_activity(
        &self,
        request: UnpauseActivityRequest,
    ) -> Result<UnpauseActivityResponse, Status> {
        use unpause_activity_request::Activity;
        let which = request.activity.map(|activity| match activity {
            Activity::Id(id) => ActivitiesNamed::Id(id),
            Activity::Type(name) => ActivitiesNamed::Type(name),
            Activity::UnpauseAll(_) => ActivitiesNamed::All,
        });
        let control = ActivityControl::Unpause {
            reset_attempts: request.reset_attempts,
            reset_heartbeat: request.reset_heartbeat,
            jitter: validate::span(request.jitter.as_ref(), "Jitter")?,
        };
        self.control_activities(&request.namespace, request.execution, which, control).await?;
        Ok(UnpauseActivityResponse {})
    }

    /// The options of an activity are always those it was scheduled with: there is nothing to restore.
    pub(crate) async fn reset_activity(&self, request: ResetActivityRequest) -> Result<ResetActivityResponse, Status> {
        use reset_activity_request::Activity;
        let which = request.activity.map(|activity| match activity {
            Activity::Id(id) => ActivitiesNamed::Id(id),
            Activity::Type(name) => ActivitiesNamed::Type(name),
            Activity::MatchAll(_) => ActivitiesNamed::All,
        });
        let control = ActivityControl::Reset {
            reset_heartbeat: request.reset_heartbeat,
            keep_paused: request.keep_paused,
            jitter: validate::span(request.jitter.as_ref(), "Jitter")?,
        };
        self.control_activities(&request.namespace, request.execution, which, control).await?;
        Ok(ResetActivityResponse {})
    }

    async fn control_activities(
        &self,
        namespace: &str,
        execution: Option<WorkflowExecution>,
        which: Option<ActivitiesNamed>,
        control: ActivityControl,
    ) -> Result<(), Status> {
        let namespace = self.namespace(namespace)?;
        let execution = validate::execution(Some(execution.unwrap_or_default()), &self.shared.limits)?;
        let is_named = |which: &ActivitiesNamed| !matches!(which, ActivitiesNamed::Id(name) | ActivitiesNamed::Type(name) if name.is_empty());
        let which = which.filter(is_named);
        let which = which.ok_or_else(|| invalid("Either Activity.Id or Activity.Type should be set on request."))?;
        let about = About::run(&execution.workflow_id, &execution.run_id);
        let input = ControlActivities { run_id: execution.run_id.clone(), which, control };
        let input = Input::ControlActivities(Box::new(input));
        let answer = self.shared.history.call(namespace.id, about.workflow_id, input).await;
        answer.map_err(|error| error::status(error, &about))?;
        Ok(())
    }
}

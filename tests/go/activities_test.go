package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
)

// Activities run one after another, each with the result of the last.
func TestActivitiesInTurn(t *testing.T) {
	f := newFixture(t)
	require.Equal(t, 5, result[int](f, f.start(AddInTurn, 5)))
}

// Activities run in parallel: all are scheduled by one workflow task.
func TestActivitiesAtOnce(t *testing.T) {
	f := newFixture(t)
	run := f.start(AddAtOnce, 5)
	require.Equal(t, []int{1, 2, 3, 4, 5}, result[[]int](f, run))
	scheduledBy := map[int64]bool{}
	for _, event := range f.history(run) {
		if scheduled := event.GetActivityTaskScheduledEventAttributes(); scheduled != nil {
			scheduledBy[scheduled.WorkflowTaskCompletedEventId] = true
		}
	}
	require.Len(t, scheduledBy, 1)
}

// An activity that fails twice succeeds at its third attempt; history has one start, with the last failure.
func TestActivityIsRetried(t *testing.T) {
	f := newFixture(t)
	run := f.start(CallActivity, "FailUntil", 3)
	require.Equal(t, 3, result[int](f, run))
	events := f.history(run)
	require.Equal(t, 1, count(events, enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED))
	for _, event := range events {
		if started := event.GetActivityTaskStartedEventAttributes(); started != nil {
			require.EqualValues(t, 3, started.Attempt)
			require.Equal(t, "attempt 2 failed", started.LastFailure.Message)
		}
	}
}

// A non-retryable failure is not retried and reaches the client with its type and details.
func TestNonRetryableFailure(t *testing.T) {
	f := newFixture(t)
	run := f.start(CallActivity, "Refuse", "no reason")
	err := run.Get(f.ctx, nil)

	var activity *temporal.ActivityError
	require.ErrorAs(t, err, &activity)
	require.Equal(t, "Refuse", activity.ActivityType().GetName())
	require.Equal(t, enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE, activity.RetryState())
	var application *temporal.ApplicationError
	require.ErrorAs(t, err, &application)
	require.Equal(t, "Refusal", application.Type())
	require.True(t, application.NonRetryable())
	var reason string
	require.NoError(t, application.Details(&reason))
	require.Equal(t, "no reason", reason)
	require.Equal(t, 1, count(f.history(run), enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED))
}

// A retry goes on from the heartbeat details of the attempt before it.
func TestHeartbeatDetailsReachTheNextAttempt(t *testing.T) {
	f := newFixture(t)
	require.Equal(t, []int{0, 1, 2}, result[[]int](f, f.start(CallActivity, "ResumeFromHeartbeat", 3)))
}

// The reply to a heartbeat tells an activity that it is cancelled, and its last words reach the workflow.
func TestActivityIsCancelledByHeartbeat(t *testing.T) {
	f := newFixture(t)
	run := f.start(CancelActivity)
	f.waitForStartedActivity(run)
	f.signal(run, "cancel", nil)
	require.Equal(t, "stopped tidily", result[string](f, run))
	events := f.history(run)
	require.Equal(t, 1, count(events, enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED))
	require.Equal(t, 1, count(events, enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCELED))
}

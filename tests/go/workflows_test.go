package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
)

// A timer fires, and not before its time.
func TestTimer(t *testing.T) {
	f := newFixture(t)
	run := f.start(Timer, 200*time.Millisecond)
	require.GreaterOrEqual(t, result[time.Duration](f, run), 200*time.Millisecond)
	require.Equal(t, 1, count(f.history(run), enumspb.EVENT_TYPE_TIMER_FIRED))
}

// Signals arrive in order; a query sees them while the workflow runs and after it closed.
func TestSignalsAndQuery(t *testing.T) {
	f := newFixture(t)
	run := f.start(Collect)
	for _, value := range []string{"a", "b", "c"} {
		f.signal(run, "add", value)
	}
	query := func() []string {
		answer, err := f.QueryWorkflow(f.ctx, run.GetID(), "", "values")
		require.NoError(t, err)
		var values []string
		require.NoError(t, answer.Get(&values))
		return values
	}
	require.Equal(t, []string{"a", "b", "c"}, query())
	f.signal(run, "finish", nil)
	require.Equal(t, []string{"a", "b", "c"}, result[[]string](f, run))
	require.Equal(t, []string{"a", "b", "c"}, query())
}

// Updates are done by the workflow's code, activities included; what a validator refuses leaves no event.
func TestUpdates(t *testing.T) {
	f := newFixture(t)
	run := f.start(Account)
	deposit := func(amount int) (int, error) {
		handle, err := f.UpdateWorkflow(f.ctx, client.UpdateWorkflowOptions{
			WorkflowID:   run.GetID(),
			UpdateName:   "deposit",
			Args:         []any{amount},
			WaitForStage: client.WorkflowUpdateStageAccepted,
		})
		require.NoError(t, err)
		var balance int
		err = handle.Get(f.ctx, &balance)
		return balance, err
	}
	balance, err := deposit(1)
	require.NoError(t, err)
	require.Equal(t, 2, balance)
	events := len(f.history(run))
	var refused *temporal.ApplicationError
	_, err = deposit(-1)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "Negative", refused.Type())
	require.Len(t, f.history(run), events)
	balance, err = deposit(2)
	require.NoError(t, err)
	require.Equal(t, 5, balance)
	f.signal(run, "close", nil)
	require.Equal(t, 5, result[int](f, run))
	require.Equal(t, 2, count(f.history(run), enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED))
}

// An update may come with the start of its workflow, and finds the workflow when it comes again.
func TestUpdateWithStart(t *testing.T) {
	f := newFixture(t)
	options := f.options()
	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	var balance int
	for _, amount := range []int{1, 2} {
		handle, err := f.UpdateWithStartWorkflow(f.ctx, client.UpdateWithStartWorkflowOptions{
			StartWorkflowOperation: f.NewWithStartWorkflowOperation(options, Account),
			UpdateOptions: client.UpdateWorkflowOptions{
				WorkflowID:   options.ID,
				UpdateName:   "deposit",
				Args:         []any{amount},
				WaitForStage: client.WorkflowUpdateStageCompleted,
			},
		})
		require.NoError(t, err)
		require.NoError(t, handle.Get(f.ctx, &balance))
	}
	require.Equal(t, 5, balance)
}

// A query that the workflow does not know is refused with the names of those it knows.
func TestUnknownQueryIsRefused(t *testing.T) {
	f := newFixture(t)
	run := f.start(Collect)
	_, err := f.QueryWorkflow(f.ctx, run.GetID(), "", "no-such-query")
	var failed *serviceerror.QueryFailed
	require.ErrorAs(t, err, &failed)
	require.ErrorContains(t, err, "values")
}

// A cancelled workflow cleans up and ends as cancelled.
func TestWorkflowIsCancelled(t *testing.T) {
	f := newFixture(t)
	run := f.start(WaitForever)
	f.waitForEvent(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 1)
	require.NoError(t, f.CancelWorkflow(f.ctx, run.GetID(), ""))
	var canceled *temporal.CanceledError
	require.ErrorAs(t, run.Get(f.ctx, nil), &canceled)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED, f.status(run.GetID()))
	require.Equal(t, 1, count(f.history(run), enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED))
}

// A terminated workflow ends at once, and its client hears the reason.
func TestWorkflowIsTerminated(t *testing.T) {
	f := newFixture(t)
	run := f.start(WaitForever)
	require.NoError(t, f.TerminateWorkflow(f.ctx, run.GetID(), "", "enough"))
	var terminated *temporal.TerminatedError
	require.ErrorAs(t, run.Get(f.ctx, nil), &terminated)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, f.status(run.GetID()))
}

// Continue-as-new hands its arguments to the next run; the client follows to the last one.
func TestContinueAsNew(t *testing.T) {
	f := newFixture(t)
	run := f.start(CountDown, 3, []int{})
	first := run.GetRunID()
	require.Equal(t, []int{3, 2, 1, 0}, result[[]int](f, run))
	description, err := f.DescribeWorkflowExecution(f.ctx, run.GetID(), "")
	require.NoError(t, err)
	require.NotEqual(t, first, description.WorkflowExecutionInfo.Execution.RunId)
	firstRun, err := f.DescribeWorkflowExecution(f.ctx, run.GetID(), first)
	require.NoError(t, err)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, firstRun.WorkflowExecutionInfo.Status)
}

// A failed workflow reaches the client with its type, details and cause.
func TestFailureDetails(t *testing.T) {
	f := newFixture(t)
	err := f.start(Fail, "out of luck").Get(f.ctx, nil)
	var application *temporal.ApplicationError
	require.ErrorAs(t, err, &application)
	require.Equal(t, "out of luck", application.Message())
	require.Equal(t, "Unlucky", application.Type())
	var details map[string]int
	var more string
	require.NoError(t, application.Details(&details, &more))
	require.Equal(t, map[string]int{"code": 42}, details)
	require.Equal(t, "more", more)
	require.ErrorContains(t, application.Unwrap(), "the reason")
}

// Signal-with-start starts the workflow once; the second call only signals it.
func TestSignalWithStart(t *testing.T) {
	f := newFixture(t)
	options := f.options()
	var runs []client.WorkflowRun
	for _, value := range []string{"first", "second"} {
		run, err := f.SignalWithStartWorkflow(f.ctx, options.ID, "add", value, options, Collect)
		require.NoError(t, err)
		runs = append(runs, run)
	}
	require.Equal(t, runs[0].GetRunID(), runs[1].GetRunID())
	f.signal(runs[0], "finish", nil)
	require.Equal(t, []string{"first", "second"}, result[[]string](f, runs[0]))
}

// Describe shows what a workflow was started with: type, queue, memo, search attributes.
func TestDescribe(t *testing.T) {
	f := newFixture(t)
	key := temporal.NewSearchAttributeKeyKeyword(searchAttribute)
	options := f.options()
	options.Memo = map[string]any{"note": "remember the milk"}
	options.TypedSearchAttributes = temporal.NewSearchAttributes(key.ValueSet("blue"))
	run := f.startWith(options, Collect)

	description, err := f.DescribeWorkflow(f.ctx, run.GetID(), "")
	require.NoError(t, err)
	require.Equal(t, "Collect", description.WorkflowType.Name)
	require.Equal(t, f.queue, description.TaskQueueName)
	require.Equal(t, run.GetRunID(), description.WorkflowExecution.RunID)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, description.Status)
	var note string
	require.NoError(t, converter.GetDefaultDataConverter().FromPayload(description.Memo.Fields["note"], &note))
	require.Equal(t, "remember the milk", note)
	colour, found := description.TypedSearchAttributes.GetKeyword(key)
	require.True(t, found)
	require.Equal(t, "blue", colour)
	f.signal(run, "finish", nil)
	result[[]string](f, run)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, f.status(run.GetID()))
}

// The id of a running workflow cannot be started again, unless the conflict policy says what to do.
func TestIdOfARunningWorkflow(t *testing.T) {
	f := newFixture(t)
	options := f.options()
	run := f.startWith(options, Collect)

	options.WorkflowExecutionErrorWhenAlreadyStarted = true
	_, err := f.ExecuteWorkflow(f.ctx, options, Collect)
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	require.ErrorAs(t, err, &started)
	require.Equal(t, run.GetRunID(), started.RunId)

	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	require.Equal(t, run.GetRunID(), f.startWith(options, Collect).GetRunID())

	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
	require.NotEqual(t, run.GetRunID(), f.startWith(options, Collect).GetRunID())
	old, err := f.DescribeWorkflow(f.ctx, run.GetID(), run.GetRunID())
	require.NoError(t, err)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, old.Status)
}

// The reuse policy decides whether the id of a closed workflow may be started again.
func TestIdOfAClosedWorkflow(t *testing.T) {
	f := newFixture(t)
	options := f.options()
	options.WorkflowExecutionErrorWhenAlreadyStarted = true
	reuse := func(policy enumspb.WorkflowIdReusePolicy, workflow any) error {
		options.WorkflowIDReusePolicy = policy
		run, err := f.ExecuteWorkflow(f.ctx, options, workflow, "again")
		if err == nil {
			_ = run.Get(f.ctx, nil)
		}
		return err
	}
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	require.NoError(t, reuse(enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, Echo))
	require.ErrorAs(t, reuse(enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, Echo), &started)
	require.ErrorAs(t, reuse(enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY, Echo), &started)
	require.NoError(t, reuse(enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, Fail))
	require.NoError(t, reuse(enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY, Echo))
}

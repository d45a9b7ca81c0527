package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
)

const deadline = 30 * time.Second

// quiet drops what the SDK logs: most tests make activities fail on purpose.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

// fixture is a client, a worker and a task queue of one test alone.
type fixture struct {
	*testing.T
	client.Client
	ctx    context.Context
	queue  string
	worker worker.Worker
}

// newFixture makes the test parallel and starts a worker with every workflow and activity of this folder.
func newFixture(t *testing.T) *fixture {
	t.Parallel()
	return newFixtureWith(t, client.Options{}, worker.Options{})
}

// newFixtureWith leaves it to the test whether it is parallel. The test's end stops the worker.
func newFixtureWith(t *testing.T, options client.Options, workerOptions worker.Options) *fixture {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	options.HostPort, options.Logger = shared.address, quiet{}
	c, err := client.DialContext(ctx, options)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	f := &fixture{T: t, Client: c, ctx: ctx, queue: unique("queue")}
	f.worker = f.startWorker(workerOptions)
	t.Cleanup(func() { f.worker.Stop() })
	return f
}

// startWorker polls the fixture's queue. It waits one second for a worker that is gone, not five.
func (f *fixture) startWorker(options worker.Options) worker.Worker {
	options.StickyScheduleToStartTimeout = time.Second
	w := worker.New(f.Client, f.queue, options)
	register(w)
	require.NoError(f, w.Start())
	return w
}

func (f *fixture) options() client.StartWorkflowOptions {
	return client.StartWorkflowOptions{ID: unique("workflow"), TaskQueue: f.queue}
}

func (f *fixture) start(workflow any, args ...any) client.WorkflowRun {
	f.Helper()
	return f.startWith(f.options(), workflow, args...)
}

func (f *fixture) startWith(options client.StartWorkflowOptions, workflow any, args ...any) client.WorkflowRun {
	f.Helper()
	run, err := f.ExecuteWorkflow(f.ctx, options, workflow, args...)
	require.NoError(f, err)
	return run
}

func (f *fixture) signal(run client.WorkflowRun, name string, value any) {
	f.Helper()
	require.NoError(f, f.SignalWorkflow(f.ctx, run.GetID(), run.GetRunID(), name, value))
}

// status is the state of a run as the server describes it.
func (f *fixture) status(id string) enumspb.WorkflowExecutionStatus {
	f.Helper()
	description, err := f.DescribeWorkflowExecution(f.ctx, id, "")
	require.NoError(f, err)
	return description.WorkflowExecutionInfo.Status
}

// history returns all events so far.
func (f *fixture) history(run client.WorkflowRun) []*historypb.HistoryEvent {
	f.Helper()
	var events []*historypb.HistoryEvent
	pages := f.GetWorkflowHistory(f.ctx, run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for pages.HasNext() {
		event, err := pages.Next()
		require.NoError(f, err)
		events = append(events, event)
	}
	return events
}

// waitForEvent follows the history by long poll until it has count events of the type.
func (f *fixture) waitForEvent(run client.WorkflowRun, wanted enumspb.EventType, count int) {
	f.Helper()
	pages := f.GetWorkflowHistory(f.ctx, run.GetID(), run.GetRunID(), true, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for pages.HasNext() {
		event, err := pages.Next()
		require.NoError(f, err)
		if event.EventType == wanted {
			if count--; count == 0 {
				return
			}
		}
	}
	f.Fatalf("the workflow closed without another %v", wanted)
}

// waitForStartedActivity asks until a worker runs an activity of the run.
func (f *fixture) waitForStartedActivity(run client.WorkflowRun) {
	f.Helper()
	f.eventually(func() bool {
		description, err := f.DescribeWorkflowExecution(f.ctx, run.GetID(), run.GetRunID())
		require.NoError(f, err)
		for _, pending := range description.PendingActivities {
			if pending.State == enumspb.PENDING_ACTIVITY_STATE_STARTED {
				return true
			}
		}
		return false
	})
}

// eventually asks condition until it holds or the test's time is over.
func (f *fixture) eventually(condition func() bool) {
	f.Helper()
	for !condition() {
		select {
		case <-f.ctx.Done():
			f.Fatal("the condition did not come true in time")
		case <-time.After(askAgainAfter):
		}
	}
}

func count(events []*historypb.HistoryEvent, wanted enumspb.EventType) int {
	found := 0
	for _, event := range events {
		if event.EventType == wanted {
			found++
		}
	}
	return found
}

// unique is a name that no other test uses.
func unique(prefix string) string {
	return fmt.Sprintf("%s-%s", prefix, uuid.NewString()[:12])
}

// result is what the run returned.
func result[T any](f *fixture, run client.WorkflowRun) T {
	f.Helper()
	var value T
	require.NoError(f, run.Get(f.ctx, &value))
	return value
}

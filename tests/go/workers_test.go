package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
)

// A worker that takes over in the middle of a workflow replays it and goes on where the first one stopped.
func TestWorkerIsReplaced(t *testing.T) {
	f := newFixture(t)
	run := f.start(Remember)
	f.waitForEvent(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 2)
	f.worker.Stop()
	f.signal(run, "go", nil)
	f.worker = f.startWorker(worker.Options{})
	require.Equal(t, 2, result[int](f, run))
	require.Equal(t, 2, timesBegun(run.GetID()), "the second worker replays from the start")
	require.Equal(t, 2, count(f.history(run), enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED), "nothing runs again")
}

// A workflow that fell out of the worker's cache is fetched whole and replayed.
func TestEvictedWorkflowIsReplayed(t *testing.T) {
	// Not parallel: the cache is one for the process, and so is its purge.
	f := newFixtureWith(t, client.Options{}, worker.Options{})
	run := f.start(Remember)
	f.waitForEvent(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 2)
	require.Equal(t, 1, timesBegun(run.GetID()), "the cache serves the second workflow task")
	worker.PurgeStickyWorkflowCache()
	f.signal(run, "go", nil)
	require.Equal(t, 2, result[int](f, run))
	require.Equal(t, 2, timesBegun(run.GetID()), "the workflow is replayed once")
	require.Equal(t, 2, count(f.history(run), enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED), "nothing runs again")
}

// The activities of a session all run on the worker that holds the session.
func TestSession(t *testing.T) {
	t.Parallel()
	f := newFixtureWith(t, client.Options{}, worker.Options{EnableSessionWorker: true})
	second := f.startWorker(worker.Options{EnableSessionWorker: true})
	defer second.Stop()
	places := result[[]string](f, f.start(InSession))
	require.Equal(t, places[0], places[1])
	require.NotEqual(t, f.queue, places[0], "a session has a task queue of its own")
}

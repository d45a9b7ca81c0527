package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const histories = "../../interop/histories/mainspring"

// absent is what Go has no such calls for.
var absent = map[string]bool{"patched": true, "deprecate_patch": true}

// differences is where Go asks for something else than ours, by what its replay says. All others replay.
var differences = map[string]string{
	"local_activity": `marker name "core_local_activity" for eventId 5: unknown marker name`,
	// Signals go into channels in Go: handlers of updates run first, then the workflow, then what takes signals out.
	"concurrent":     "lookup failed for scheduledEventID to activityID: scheduleEventID: 13",
	"messages_first": "lookup failed for scheduledEventID to activityID: scheduleEventID: 7",
}

func TestGoReplaysOurHistories(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(histories, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		if absent[name] {
			continue
		}
		t.Run(name, func(t *testing.T) {
			file, err := os.Open(path)
			require.NoError(t, err)
			defer file.Close()
			history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
			require.NoError(t, err)
			numberByEvents(history)
			replayer := worker.NewWorkflowReplayer()
			registerWorkflows(replayer)
			options := worker.ReplayWorkflowHistoryOptions{OriginalExecution: workflow.Execution{ID: name}}
			err = replayer.ReplayWorkflowHistoryWithOptions(quiet{}, history, options)
			if expected := differences[name]; expected != "" {
				require.ErrorContains(t, err, expected)
				return
			}
			require.NoError(t, err)
		})
	}
}

// goFlags turn on what Go does of late: without the fourth, handlers of updates begin later.
var goFlags = []uint32{3, 4}

// numberByEvents gives everything the numbers that Go uses: those of events. Ours counts activities and timers, and does
// not number what it sends to other workflows.
func numberByEvents(history *historypb.History) {
	for _, event := range history.Events {
		number := strconv.FormatInt(event.EventId, 10)
		if scheduled := event.GetActivityTaskScheduledEventAttributes(); scheduled != nil {
			if _, err := strconv.Atoi(scheduled.ActivityId); err == nil {
				scheduled.ActivityId = number
			}
		} else if started := event.GetTimerStartedEventAttributes(); started != nil {
			started.TimerId = number
		} else if fired := event.GetTimerFiredEventAttributes(); fired != nil {
			fired.TimerId = strconv.FormatInt(fired.StartedEventId, 10)
		} else if cancelled := event.GetTimerCanceledEventAttributes(); cancelled != nil {
			cancelled.TimerId = strconv.FormatInt(cancelled.StartedEventId, 10)
		} else if marker := event.GetMarkerRecordedEventAttributes(); marker.GetMarkerName() == "MutableSideEffect" {
			data := []byte(`"limit_` + number + `"`)
			marker.Details["side-effect-id"].Payloads[0].Data = data
		} else if completed := event.GetWorkflowTaskCompletedEventAttributes(); completed != nil {
			completed.SdkMetadata = &sdkpb.WorkflowTaskCompletedMetadata{LangUsedFlags: goFlags}
		} else if signal := event.GetSignalExternalWorkflowExecutionInitiatedEventAttributes(); signal != nil {
			signal.Control = number
		} else if cancel := event.GetRequestCancelExternalWorkflowExecutionInitiatedEventAttributes(); cancel != nil {
			cancel.Control = number
		}
	}
}

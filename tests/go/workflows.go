// Package e2e runs the unmodified Go SDK against a real server process.
//
// This file holds the workflows that the tests start; activities.go what they call. Each does one thing.
package e2e

import (
	"errors"
	"fmt"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const searchAttribute = "E2eKeyword"

// register gives a worker everything in this folder.
func register(w worker.Registry) {
	for _, each := range []any{
		AddInTurn, AddAtOnce, CallActivity, CancelActivity, Timer, Collect, WaitForever, CountDown, Echo, Fail,
		Parent, ParentThatLeaves, Remember, InSession, Account,
	} {
		w.RegisterWorkflow(each)
	}
	for _, each := range []any{AddOne, FailUntil, Refuse, ResumeFromHeartbeat, BeatUntilCancelled, WhereAmI} {
		w.RegisterActivity(each)
	}
}

// AddInTurn calls activities one after another, each with the result of the last.
func AddInTurn(ctx workflow.Context, steps int) (int, error) {
	number := 0
	for range steps {
		if err := workflow.ExecuteActivity(quick(ctx), AddOne, number).Get(ctx, &number); err != nil {
			return 0, err
		}
	}
	return number, nil
}

// AddAtOnce calls activities in parallel.
func AddAtOnce(ctx workflow.Context, width int) ([]int, error) {
	futures := make([]workflow.Future, width)
	for number := range width {
		futures[number] = workflow.ExecuteActivity(quick(ctx), AddOne, number)
	}
	results := make([]int, width)
	for number, future := range futures {
		if err := future.Get(ctx, &results[number]); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// CallActivity runs one activity by name, with quick retries, and fails as it fails.
func CallActivity(ctx workflow.Context, activity string, argument any) (any, error) {
	var value any
	err := workflow.ExecuteActivity(quick(ctx), activity, argument).Get(ctx, &value)
	return value, err
}

// CancelActivity cancels its activity when signalled, and returns what the activity said at its end.
func CancelActivity(ctx workflow.Context) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		HeartbeatTimeout:    time.Second,
		WaitForCancellation: true,
	})
	activityCtx, cancel := workflow.WithCancel(ctx)
	activity := workflow.ExecuteActivity(activityCtx, BeatUntilCancelled)
	workflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
	cancel()
	err := activity.Get(ctx, nil)
	var canceled *temporal.CanceledError
	if !errors.As(err, &canceled) {
		return "", fmt.Errorf("the activity was not cancelled: %w", err)
	}
	var said string
	return said, canceled.Details(&said)
}

// Timer sleeps, and returns how long that took on the workflow's clock.
func Timer(ctx workflow.Context, duration time.Duration) (time.Duration, error) {
	before := workflow.Now(ctx)
	err := workflow.Sleep(ctx, duration)
	return workflow.Now(ctx).Sub(before), err
}

// Collect gathers "add" signals until a "finish" signal; the query "values" shows them meanwhile.
func Collect(ctx workflow.Context) ([]string, error) {
	values := []string{}
	if err := workflow.SetQueryHandler(ctx, "values", func() ([]string, error) { return values, nil }); err != nil {
		return nil, err
	}
	finished := false
	selector := workflow.NewSelector(ctx)
	selector.AddReceive(workflow.GetSignalChannel(ctx, "add"), func(channel workflow.ReceiveChannel, _ bool) {
		var value string
		channel.Receive(ctx, &value)
		values = append(values, value)
	})
	selector.AddReceive(workflow.GetSignalChannel(ctx, "finish"), func(channel workflow.ReceiveChannel, _ bool) {
		channel.Receive(ctx, nil)
		finished = true
	})
	for !finished || selector.HasPending() {
		selector.Select(ctx)
	}
	return values, nil
}

// Account has a balance that "deposit" updates change, of one more than they say; a "close" signal ends it.
func Account(ctx workflow.Context) (int, error) {
	balance := 0
	deposit := func(ctx workflow.Context, amount int) (int, error) {
		var deposited int
		err := workflow.ExecuteActivity(quick(ctx), AddOne, amount).Get(ctx, &deposited)
		balance += deposited
		return balance, err
	}
	validate := func(amount int) error {
		if amount < 0 {
			return temporal.NewApplicationError("no debts", "Negative")
		}
		return nil
	}
	options := workflow.UpdateHandlerOptions{Validator: validate}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, "deposit", deposit, options); err != nil {
		return 0, err
	}
	workflow.GetSignalChannel(ctx, "close").Receive(ctx, nil)
	return balance, nil
}

// WaitForever ends only by cancellation or termination; cleans up with an activity when cancelled.
func WaitForever(ctx workflow.Context) error {
	err := workflow.Await(ctx, func() bool { return false })
	afterwards, _ := workflow.NewDisconnectedContext(ctx)
	if cleanUp := workflow.ExecuteActivity(quick(afterwards), AddOne, 1).Get(afterwards, nil); cleanUp != nil {
		return cleanUp
	}
	return err
}

// CountDown continues as new until from is 0, and returns the numbers that it passed.
func CountDown(ctx workflow.Context, from int, passed []int) ([]int, error) {
	passed = append(passed, from)
	if from == 0 {
		return passed, nil
	}
	return nil, workflow.NewContinueAsNewError(ctx, CountDown, from-1, passed)
}

// Echo returns its argument.
func Echo(_ workflow.Context, value string) (string, error) {
	return value, nil
}

// Fail fails with details.
func Fail(_ workflow.Context, message string) error {
	cause := errors.New("the reason")
	return temporal.NewNonRetryableApplicationError(message, "Unlucky", cause, map[string]int{"code": 42}, "more")
}

// Parent runs a child by name and returns its result; fails as it fails.
func Parent(ctx workflow.Context, child, argument string) (string, error) {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: workflow.GetInfo(ctx).WorkflowExecution.ID + "/child",
	})
	var value string
	err := workflow.ExecuteChildWorkflow(ctx, child, argument).Get(ctx, &value)
	return value, err
}

// ParentThatLeaves closes while its child runs; the policy decides what becomes of the child.
func ParentThatLeaves(ctx workflow.Context, childID string, policy enumspb.ParentClosePolicy) error {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:        childID,
		ParentClosePolicy: policy,
	})
	return workflow.ExecuteChildWorkflow(ctx, WaitForever).GetChildWorkflowExecution().Get(ctx, nil)
}

// begun counts how often a worker began to run the code of a workflow id: once, and once more for each replay.
var begun = struct {
	sync.Mutex
	times map[string]int
}{times: map[string]int{}}

func timesBegun(workflowID string) int {
	begun.Lock()
	defer begun.Unlock()
	return begun.times[workflowID]
}

// Remember holds the result of an activity over a wait for the signal "go", then adds one more.
func Remember(ctx workflow.Context) (int, error) {
	begun.Lock()
	begun.times[workflow.GetInfo(ctx).WorkflowExecution.ID]++ // not deterministic, so that the test sees replays
	begun.Unlock()
	number := 0
	if err := workflow.ExecuteActivity(quick(ctx), AddOne, number).Get(ctx, &number); err != nil {
		return 0, err
	}
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, nil)
	err := workflow.ExecuteActivity(quick(ctx), AddOne, number).Get(ctx, &number)
	return number, err
}

// InSession runs two activities in one session, and returns where they ran.
func InSession(ctx workflow.Context) ([]string, error) {
	ctx = quick(ctx)
	session, err := workflow.CreateSession(ctx, &workflow.SessionOptions{
		CreationTimeout:  10 * time.Second,
		ExecutionTimeout: time.Minute,
	})
	if err != nil {
		return nil, err
	}
	places := make([]string, 2)
	for number := range places {
		if err := workflow.ExecuteActivity(session, WhereAmI).Get(session, &places[number]); err != nil {
			return nil, err
		}
	}
	workflow.CompleteSession(session)
	return places, nil
}

// quick are activity options for activities that end at once, and are retried at once.
func quick(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 20 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond},
	})
}

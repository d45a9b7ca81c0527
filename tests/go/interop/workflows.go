package main

import (
	"errors"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

var workflows = map[string]any{
	"activity": activityWorkflow, "activity_retry": activityRetry, "activity_by_name": activityByName,
	"failure": failure, "cancel_types": cancelTypes, "local_activity": localActivity, "timer": timer,
	"deadline": deadline, "join": join, "join_all": joinAll, "race": race, "branch": branch, "scope": scope,
	"clean_up": cleanUp, "cancelled": cancelled, "given": given, "waiter": waiter, "child": child,
	"child_signalled": childSignalled, "signal_other": signalOther, "cancel_other": cancelOther, "signals": signals,
	"query": query, "update": update, "messages_first": messagesFirst, "concurrent": concurrent,
	"continue_as_new": continueAsNew, "version": version, "side_effect": sideEffect,
	"mutable_side_effect": mutableSideEffect, "search_attributes": searchAttributes, "memo": memo,
}

func registerWorkflows(to worker.WorkflowRegistry) {
	for name, body := range workflows {
		to.RegisterWorkflowWithOptions(body, workflow.RegisterOptions{Name: name})
	}
}

func startGreet(ctx workflow.Context, name string) workflow.Future {
	options := workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second}
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), "greet", name)
}

func callGreet(ctx workflow.Context, name string) (greeting string, err error) {
	err = startGreet(ctx, name).Get(ctx, &greeting)
	return
}

func callDescribe(ctx workflow.Context, args ...any) (described string, err error) {
	options := workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second}
	err = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), "describe", args...).Get(ctx, &described)
	return
}

func startHold(ctx workflow.Context, wait bool) workflow.Future {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		HeartbeatTimeout:    time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
		WaitForCancellation: wait,
	}), "hold")
}

func activityWorkflow(ctx workflow.Context) (string, error) {
	return callGreet(ctx, "Ada")
}

func activityRetry(ctx workflow.Context) (attempt int32, err error) {
	options := workflow.ActivityOptions{
		ActivityID:             "flaky-1",
		StartToCloseTimeout:    10 * time.Second,
		ScheduleToCloseTimeout: time.Minute,
		ScheduleToStartTimeout: 30 * time.Second,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:        10 * time.Millisecond,
			BackoffCoefficient:     1.5,
			MaximumInterval:        time.Second,
			MaximumAttempts:        5,
			NonRetryableErrorTypes: []string{"Refused"},
		},
	}
	err = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), "flaky", 2).Get(ctx, &attempt)
	return
}

func activityByName(ctx workflow.Context) (string, error) {
	return callDescribe(ctx, 3, "sku-7", true)
}

func failure(ctx workflow.Context) error {
	options := workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second}
	ctx = workflow.WithActivityOptions(ctx, options)
	return workflow.ExecuteActivity(ctx, "refuse").Get(ctx, nil)
}

// Go has no kind of cancellation that leaves an activity alone: the third one is not under the scope.
func cancelTypes(ctx workflow.Context) (string, error) {
	scoped, cancel := workflow.WithCancel(ctx)
	held := []workflow.Future{startHold(scoped, false), startHold(scoped, true)}
	startHold(ctx, false)
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, nil)
	cancel()
	for _, held := range held {
		if err := held.Get(ctx, nil); !temporal.IsCanceledError(err) {
			return "", err
		}
	}
	return "cancelled", nil
}

func localActivity(ctx workflow.Context) (string, error) {
	options := workflow.LocalActivityOptions{StartToCloseTimeout: 10 * time.Second}
	local := workflow.WithLocalActivityOptions(ctx, options)
	var a, b string
	if err := workflow.ExecuteLocalActivity(local, greet, "a").Get(ctx, &a); err != nil {
		return "", err
	}
	if err := workflow.ExecuteLocalActivity(local, greet, "b").Get(ctx, &b); err != nil {
		return "", err
	}
	return a + " " + b, workflow.Sleep(ctx, 20*time.Millisecond)
}

func timer(ctx workflow.Context) error {
	return workflow.Sleep(ctx, 50*time.Millisecond)
}

func deadline(ctx workflow.Context) (string, error) {
	scoped, cancel := workflow.WithCancel(ctx)
	selector := workflow.NewSelector(ctx)
	selector.AddFuture(startHold(scoped, false), func(workflow.Future) {})
	selector.AddFuture(workflow.NewTimer(ctx, 100*time.Millisecond), func(workflow.Future) {})
	selector.Select(ctx)
	cancel()
	return callGreet(ctx, "late")
}

func join(ctx workflow.Context) (string, error) {
	greetings, err := all(ctx, "a", "b")
	return strings.Join(greetings, " "), err
}

func joinAll(ctx workflow.Context) ([]string, error) {
	return all(ctx, "a", "b", "c")
}

func all(ctx workflow.Context, names ...string) ([]string, error) {
	futures := make([]workflow.Future, len(names))
	for i, name := range names {
		futures[i] = startGreet(ctx, name)
	}
	greetings := make([]string, len(names))
	for i, future := range futures {
		if err := future.Get(ctx, &greetings[i]); err != nil {
			return nil, err
		}
	}
	return greetings, nil
}

func race(ctx workflow.Context) (string, error) {
	scoped, cancel := workflow.WithCancel(ctx)
	selector := workflow.NewSelector(ctx)
	selector.AddFuture(startGreet(ctx, "fast"), func(workflow.Future) {})
	selector.AddFuture(workflow.NewTimer(scoped, time.Minute), func(workflow.Future) {})
	selector.Select(ctx)
	cancel()
	return callGreet(ctx, "after")
}

func branch(ctx workflow.Context) (greeting string, err error) {
	future, set := workflow.NewFuture(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		if _, err := callGreet(ctx, "a"); err != nil {
			set.SetError(err)
			return
		}
		set.Set(callGreet(ctx, "b"))
	})
	if err := workflow.Sleep(ctx, 300*time.Millisecond); err != nil {
		return "", err
	}
	err = future.Get(ctx, &greeting)
	return
}

func scope(ctx workflow.Context) (string, error) {
	scoped, cancel := workflow.WithCancel(ctx)
	long := workflow.NewTimer(scoped, time.Hour)
	if err := workflow.Sleep(ctx, 20*time.Millisecond); err != nil {
		return "", err
	}
	cancel()
	if err := long.Get(ctx, nil); !temporal.IsCanceledError(err) {
		return "", err
	}
	return callGreet(ctx, "after")
}

func cleanUp(ctx workflow.Context) error {
	held := startHold(ctx, true).Get(ctx, nil)
	shielded, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	if _, err := callGreet(shielded, "clean-up"); err != nil {
		return err
	}
	return held
}

func cancelled(ctx workflow.Context) error {
	return workflow.Sleep(ctx, time.Hour)
}

func given(_ workflow.Context, name string) (string, error) {
	return name, nil
}

func waiter(ctx workflow.Context) (word string, err error) {
	selector := workflow.NewSelector(ctx)
	selector.AddReceive(workflow.GetSignalChannel(ctx, "go"), func(c workflow.ReceiveChannel, _ bool) {
		c.Receive(ctx, &word)
	})
	selector.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) { err = ctx.Err() })
	selector.Select(ctx)
	return
}

func asChild(ctx workflow.Context) workflow.Context {
	id := workflow.GetInfo(ctx).WorkflowExecution.ID + "-child"
	return workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: id})
}

func child(ctx workflow.Context) (name string, err error) {
	err = workflow.ExecuteChildWorkflow(asChild(ctx), "given", "Ada").Get(ctx, &name)
	return
}

func childSignalled(ctx workflow.Context) (word string, err error) {
	child := workflow.ExecuteChildWorkflow(asChild(ctx), "waiter")
	if err := child.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
		return "", err
	}
	if err := child.SignalChildWorkflow(ctx, "go", "up").Get(ctx, nil); err != nil {
		return "", err
	}
	err = child.Get(ctx, &word)
	return
}

func signalOther(ctx workflow.Context, other string) error {
	return workflow.SignalExternalWorkflow(ctx, other, "", "go", "up").Get(ctx, nil)
}

func cancelOther(ctx workflow.Context, other string) error {
	return workflow.RequestCancelExternalWorkflow(ctx, other, "").Get(ctx, nil)
}

func signals(ctx workflow.Context) (string, error) {
	words := make([]string, 2)
	for i := range words {
		workflow.GetSignalChannel(ctx, "go").Receive(ctx, &words[i])
	}
	return strings.Join(words, " "), nil
}

func query(ctx workflow.Context) (word string, err error) {
	status := "waiting"
	if err := workflow.SetQueryHandler(ctx, "status", func() (string, error) { return status, nil }); err != nil {
		return "", err
	}
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, &word)
	status = "done"
	return
}

func update(ctx workflow.Context) (renamed string, err error) {
	handler := func(ctx workflow.Context, name string) (string, error) {
		greeting, err := callGreet(ctx, name)
		renamed = greeting
		return greeting, err
	}
	validator := func(name string) error {
		if name == "" {
			return errors.New("a name is needed")
		}
		return nil
	}
	options := workflow.UpdateHandlerOptions{Validator: validator}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, "rename", handler, options); err != nil {
		return "", err
	}
	err = workflow.Await(ctx, func() bool { return renamed != "" })
	return
}

// Go has no handlers of signals: a branch stands for them.
func handleAdd(ctx workflow.Context, times int, done *int) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var name string
			workflow.GetSignalChannel(ctx, "add").Receive(ctx, &name)
			workflow.Go(ctx, func(ctx workflow.Context) {
				for range times {
					_, _ = callGreet(ctx, name)
				}
				*done++
			})
		}
	})
}

func messagesFirst(ctx workflow.Context) (int, error) {
	done := 0
	handleAdd(ctx, 1, &done)
	if err := workflow.Sleep(ctx, 20*time.Millisecond); err != nil {
		return 0, err
	}
	err := workflow.Await(ctx, func() bool { return done == 2 })
	return done, err
}

func concurrent(ctx workflow.Context) (int, error) {
	done := 0
	handleAdd(ctx, 2, &done)
	put := func(ctx workflow.Context, name string) (string, error) {
		described, err := callDescribe(ctx, 1, name, false)
		done++
		return described, err
	}
	if err := workflow.SetUpdateHandler(ctx, "put", put); err != nil {
		return 0, err
	}
	if err := workflow.Sleep(ctx, time.Second); err != nil {
		return 0, err
	}
	if err := workflow.Sleep(ctx, 20*time.Millisecond); err != nil {
		return 0, err
	}
	err := workflow.Await(ctx, func() bool { return done == 2 })
	return done, err
}

func continueAsNew(ctx workflow.Context, left int) (string, error) {
	if left == 0 {
		return "done", nil
	}
	if err := workflow.Sleep(ctx, 20*time.Millisecond); err != nil {
		return "", err
	}
	return "", workflow.NewContinueAsNewError(ctx, "continue_as_new", left-1)
}

func version(ctx workflow.Context) (string, error) {
	name := "old"
	if workflow.GetVersion(ctx, "v2", 1, 2) == 2 {
		name = "new"
	}
	return callGreet(ctx, name)
}

func sideEffect(ctx workflow.Context) (string, error) {
	var name string
	once := workflow.SideEffect(ctx, func(workflow.Context) any { return "once" })
	if err := once.Get(&name); err != nil {
		return "", err
	}
	return callGreet(ctx, name)
}

func mutableSideEffect(ctx workflow.Context) (string, error) {
	var name string
	for _, value := range []string{"7", "7", "8"} {
		make := func(workflow.Context) any { return value }
		same := func(a, b any) bool { return a == b }
		if err := workflow.MutableSideEffect(ctx, "limit", make, same).Get(&name); err != nil {
			return "", err
		}
	}
	return callGreet(ctx, name)
}

func searchAttributes(ctx workflow.Context) error {
	keyword := temporal.NewSearchAttributeKeyKeyword("InteropKeyword")
	if err := workflow.UpsertTypedSearchAttributes(ctx, keyword.ValueSet("seen")); err != nil {
		return err
	}
	return workflow.Sleep(ctx, 20*time.Millisecond)
}

func memo(ctx workflow.Context) error {
	if err := workflow.UpsertMemo(ctx, map[string]any{"note": "seen"}); err != nil {
		return err
	}
	return workflow.Sleep(ctx, 20*time.Millisecond)
}

package main

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
)

func greet(_ context.Context, name string) (string, error) {
	return "hello " + name, nil
}

func flaky(ctx context.Context, fails int32) (int32, error) {
	attempt := activity.GetInfo(ctx).Attempt
	if attempt <= fails {
		return 0, temporal.NewApplicationError(fmt.Sprintf("attempt %d", attempt), "Flaky")
	}
	return attempt, nil
}

func refuse(context.Context) error {
	return temporal.NewNonRetryableApplicationError("never", "Refused", nil, "because", 7)
}

func hold(ctx context.Context) error {
	for {
		activity.RecordHeartbeat(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func describe(_ context.Context, count int, sku string, gift bool) (string, error) {
	return fmt.Sprintf("%d %s %t", count, sku, gift), nil
}

func registerActivities(to worker.ActivityRegistry) {
	for name, body := range map[string]any{
		"greet": greet, "flaky": flaky, "refuse": refuse, "hold": hold, "describe": describe,
	} {
		to.RegisterActivityWithOptions(body, activity.RegisterOptions{Name: name})
	}
}

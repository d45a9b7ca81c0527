package e2e

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
)

// AddOne adds one.
func AddOne(_ context.Context, number int) (int, error) {
	return number + 1, nil
}

// FailUntil fails until it is called for the given attempt, which it returns.
func FailUntil(ctx context.Context, attempt int32) (int32, error) {
	if current := activity.GetInfo(ctx).Attempt; current != attempt {
		return 0, fmt.Errorf("attempt %d failed", current)
	}
	return attempt, nil
}

// Refuse fails for good, with details.
func Refuse(_ context.Context, reason string) error {
	return temporal.NewNonRetryableApplicationError("refused", "Refusal", nil, reason)
}

// ResumeFromHeartbeat counts up, heartbeats each number and dies at each; the next attempt goes on from its details.
func ResumeFromHeartbeat(ctx context.Context, steps int) ([]int, error) {
	done := []int{}
	if activity.HasHeartbeatDetails(ctx) {
		if err := activity.GetHeartbeatDetails(ctx, &done); err != nil {
			return nil, err
		}
	}
	if len(done) == steps {
		return done, nil
	}
	activity.RecordHeartbeat(ctx, append(done, len(done)))
	return nil, errors.New("died")
}

// BeatUntilCancelled heartbeats until a reply says that it is cancelled.
func BeatUntilCancelled(ctx context.Context) error {
	beat := time.NewTicker(50 * time.Millisecond)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return temporal.NewCanceledError("stopped tidily")
		case <-beat.C:
			activity.RecordHeartbeat(ctx)
		}
	}
}

// WhereAmI returns the task queue that it came from.
func WhereAmI(ctx context.Context) (string, error) {
	return activity.GetInfo(ctx).TaskQueue, nil
}

package mainspring.e2e;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.temporal.api.enums.v1.EventType;
import io.temporal.api.enums.v1.RetryState;
import io.temporal.api.history.v1.HistoryEvent;
import io.temporal.client.WorkflowFailedException;
import io.temporal.client.WorkflowStub;
import io.temporal.failure.ActivityFailure;
import io.temporal.failure.ApplicationFailure;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Activities: in turn, in parallel, retries, failures, heartbeats, cancellation. */
class ActivitiesTest {
  @RegisterExtension final Fixture fixture = new Fixture();

  /** Activities run one after another, each with the result of the last. */
  @Test
  void inTurn() {
    assertEquals(5, fixture.start(Workflows.AddInTurn.class, 5).getResult(Integer.class));
  }

  /** Activities run in parallel: all are scheduled by one workflow task. */
  @Test
  void atOnce() {
    WorkflowStub run = fixture.start(Workflows.AddAtOnce.class, 5);
    assertEquals(List.of(1, 2, 3, 4, 5), run.getResult(List.class));
    List<Long> scheduledBy =
        fixture.history(run).getEventsList().stream()
            .filter(HistoryEvent::hasActivityTaskScheduledEventAttributes)
            .map(event -> event.getActivityTaskScheduledEventAttributes().getWorkflowTaskCompletedEventId())
            .toList();
    assertEquals(5, scheduledBy.size());
    assertEquals(1, scheduledBy.stream().distinct().count());
  }

  /** An activity that fails twice succeeds at its third attempt; history has one start, with the last failure. */
  @Test
  void retried() {
    WorkflowStub run = fixture.start(Workflows.CallActivity.class, "FailUntil", 3);
    assertEquals(3, run.getResult(Integer.class));
    List<String> starts =
        fixture.history(run).getEventsList().stream()
            .filter(HistoryEvent::hasActivityTaskStartedEventAttributes)
            .map(HistoryEvent::getActivityTaskStartedEventAttributes)
            .map(started -> started.getAttempt() + ": " + started.getLastFailure().getMessage())
            .toList();
    assertEquals(List.of("3: attempt 2 failed"), starts);
  }

  /** A non-retryable failure is not retried and reaches the client with its type and details. */
  @Test
  void nonRetryable() {
    WorkflowStub run = fixture.start(Workflows.CallActivity.class, "Refuse", "no reason");
    var error = assertThrows(WorkflowFailedException.class, () -> run.getResult(Object.class));
    var activity = assertInstanceOf(ActivityFailure.class, error.getCause());
    assertEquals("Refuse", activity.getActivityType());
    assertEquals(RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE, activity.getRetryState());
    var application = assertInstanceOf(ApplicationFailure.class, activity.getCause());
    assertEquals("Refusal", application.getType());
    assertTrue(application.isNonRetryable());
    assertEquals("no reason", application.getDetails().get(String.class));
    assertEquals(1, Fixture.count(fixture.history(run), EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED));
  }

  /** A retry goes on from the heartbeat details of the attempt before it. */
  @Test
  void heartbeatDetails() {
    WorkflowStub run = fixture.start(Workflows.CallActivity.class, "ResumeFromHeartbeat", 3);
    assertEquals(List.of(0, 1, 2), run.getResult(List.class));
  }

  /** The reply to a heartbeat tells an activity that it is cancelled. */
  @Test
  void cancelledByHeartbeat() {
    WorkflowStub run = fixture.start(Workflows.CancelActivity.class);
    fixture.waitForStartedActivity(run);
    run.signal("cancel");
    assertEquals("cancelled", run.getResult(String.class));
    var history = fixture.history(run);
    assertEquals(1, Fixture.count(history, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED));
    assertEquals(1, Fixture.count(history, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED));
  }
}

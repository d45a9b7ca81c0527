package mainspring.e2e;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.temporal.api.enums.v1.EventType;
import io.temporal.api.enums.v1.WorkflowExecutionStatus;
import io.temporal.client.WorkflowFailedException;
import io.temporal.client.WorkflowQueryException;
import io.temporal.client.WorkflowStub;
import io.temporal.client.WorkflowUpdateException;
import io.temporal.failure.ApplicationFailure;
import io.temporal.failure.CanceledFailure;
import io.temporal.failure.TerminatedFailure;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Workflows as their clients see them: timers, signals, queries, cancellation, continue-as-new, failures. */
class WorkflowsTest {
  @RegisterExtension final Fixture fixture = new Fixture();

  /** A timer fires, and not before its time. */
  @Test
  void timer() {
    WorkflowStub run = fixture.start(Workflows.Timer.class, 200);
    long elapsed = run.getResult(Long.class);
    assertTrue(elapsed >= 200, elapsed + " ms");
    assertEquals(1, Fixture.count(fixture.history(run), EventType.EVENT_TYPE_TIMER_FIRED));
  }

  /** Signals arrive in order; a query sees them while the workflow runs and after it closed. */
  @Test
  void signalsAndQuery() {
    List<String> all = List.of("a", "b", "c");
    WorkflowStub run = fixture.start(Workflows.Collect.class);
    all.forEach(value -> run.signal("add", value));
    assertEquals(all, run.query("values", List.class));
    run.signal("finish");
    assertEquals(all, run.getResult(List.class));
    assertEquals(all, run.query("values", List.class));
  }

  /** Updates are done by the workflow's code, activities included; what a validator refuses leaves no event. */
  @Test
  void updates() {
    WorkflowStub run = fixture.start(Workflows.Account.class);
    assertEquals(2, run.update("deposit", Integer.class, 1));
    int events = fixture.history(run).getEventsCount();
    var error = assertThrows(WorkflowUpdateException.class, () -> run.update("deposit", Integer.class, -1));
    assertInstanceOf(ApplicationFailure.class, error.getCause());
    assertEquals(events, fixture.history(run).getEventsCount());
    assertEquals(5, run.update("deposit", Integer.class, 2));
    run.signal("close");
    assertEquals(5, run.getResult(Integer.class));
    EventType completed = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED;
    assertEquals(2, Fixture.count(fixture.history(run), completed));
  }

  /** A query that the workflow does not know is refused with the names of those it knows. */
  @Test
  void unknownQuery() {
    WorkflowStub run = fixture.start(Workflows.Collect.class);
    var error = assertThrows(WorkflowQueryException.class, () -> run.query("noSuchQuery", List.class));
    assertTrue(error.getCause().getMessage().contains("values"), error.getCause().getMessage());
  }

  /** A cancelled workflow cleans up and ends as cancelled. */
  @Test
  void cancelled() {
    WorkflowStub run = fixture.start(Workflows.WaitForever.class);
    fixture.waitForEvent(run, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 1);
    run.cancel();
    var error = assertThrows(WorkflowFailedException.class, () -> run.getResult(Void.class));
    assertInstanceOf(CanceledFailure.class, error.getCause());
    assertEquals(WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED, run.describe().getStatus());
    assertEquals(1, Fixture.count(fixture.history(run), EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED));
  }

  /** A terminated workflow ends at once, and its client hears the reason. */
  @Test
  void terminated() {
    WorkflowStub run = fixture.start(Workflows.WaitForever.class);
    run.terminate("enough");
    var error = assertThrows(WorkflowFailedException.class, () -> run.getResult(Void.class));
    var terminated = assertInstanceOf(TerminatedFailure.class, error.getCause());
    assertTrue(terminated.getMessage().contains("enough"), terminated.getMessage());
    assertEquals(WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED, run.describe().getStatus());
  }

  /** Continue-as-new hands its arguments to the next run; the client follows to the last one. */
  @Test
  void continueAsNew() {
    WorkflowStub run = fixture.start(Workflows.CountDown.class, 2, List.of());
    var first = run.getExecution();
    assertEquals(List.of(2, 1, 0), run.getResult(List.class));
    var last = fixture.client.newUntypedWorkflowStub(first.getWorkflowId()).describe().getExecution();
    assertNotEquals(first.getRunId(), last.getRunId());
    assertEquals(WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, fixture.status(first));
  }

  /** A failed workflow reaches the client with its type, details and cause. */
  @Test
  void failureDetails() {
    WorkflowStub run = fixture.start(Workflows.Fail.class, "out of luck");
    var error = assertThrows(WorkflowFailedException.class, () -> run.getResult(Void.class));
    var failure = assertInstanceOf(ApplicationFailure.class, error.getCause());
    assertEquals("out of luck", failure.getOriginalMessage());
    assertEquals("Unlucky", failure.getType());
    assertEquals(Map.of("code", 42), failure.getDetails().get(0, Map.class));
    assertEquals("more", failure.getDetails().get(1, String.class));
    var cause = assertInstanceOf(ApplicationFailure.class, failure.getCause());
    assertEquals("the reason", cause.getOriginalMessage());
  }
}

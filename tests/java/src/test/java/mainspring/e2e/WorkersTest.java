package mainspring.e2e;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.temporal.api.enums.v1.EventType;
import io.temporal.client.WorkflowStub;
import io.temporal.worker.WorkerFactoryOptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Replay: a worker that takes over, a workflow that fell out of the cache. */
class WorkersTest {
  /** Room for one workflow: the next one pushes it out. */
  private static final WorkerFactoryOptions SMALL_CACHE =
      WorkerFactoryOptions.newBuilder().setWorkflowCacheSize(1).build();

  @RegisterExtension final Fixture fixture = new Fixture(SMALL_CACHE);

  /** A worker that takes over in the middle of a workflow replays it and goes on where the first one stopped. */
  @Test
  void replaced() {
    WorkflowStub run = startRemember();
    fixture.stopWorker();
    fixture.startWorker();
    finishAfterReplay(run);
  }

  /** A workflow that fell out of the worker's cache is fetched whole and replayed. */
  @Test
  void evicted() {
    WorkflowStub run = startRemember();
    startRemember();
    finishAfterReplay(run);
  }

  /** Starts a workflow and returns once it waits, with the result of its activity in hand. */
  private WorkflowStub startRemember() {
    WorkflowStub run = fixture.start(Workflows.Remember.class);
    fixture.waitForEvent(run, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 2);
    assertEquals(1, timesBegun(run), "the cache serves the second workflow task");
    return run;
  }

  private void finishAfterReplay(WorkflowStub run) {
    run.signal("proceed");
    assertEquals(2, run.getResult(Integer.class));
    assertEquals(2, timesBegun(run), "the workflow is replayed once");
    assertEquals(
        2,
        Fixture.count(fixture.history(run), EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED),
        "nothing runs again");
  }

  private static int timesBegun(WorkflowStub run) {
    return Workflows.RememberImpl.TIMES_BEGUN.getOrDefault(run.getExecution().getWorkflowId(), 0);
  }
}

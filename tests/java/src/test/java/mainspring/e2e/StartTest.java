package mainspring.e2e;

import static io.temporal.api.enums.v1.WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE;
import static io.temporal.api.enums.v1.WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY;
import static io.temporal.api.enums.v1.WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.temporal.api.enums.v1.WorkflowExecutionStatus;
import io.temporal.api.enums.v1.WorkflowIdConflictPolicy;
import io.temporal.api.enums.v1.WorkflowIdReusePolicy;
import io.temporal.client.WorkflowExecutionAlreadyStarted;
import io.temporal.client.WorkflowFailedException;
import io.temporal.client.WorkflowOptions;
import io.temporal.client.WorkflowStub;
import io.temporal.common.SearchAttributeKey;
import io.temporal.common.SearchAttributes;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Starting: signal-with-start, what describe shows, ids that are taken. */
class StartTest {
  @RegisterExtension final Fixture fixture = new Fixture();

  /** Signal-with-start starts the workflow once; the second call only signals it. */
  @Test
  void signalWithStart() {
    WorkflowOptions options = fixture.options().build();
    List<String> runs = new ArrayList<>();
    for (String value : List.of("first", "second")) {
      WorkflowStub stub = fixture.client.newUntypedWorkflowStub("Collect", options);
      runs.add(stub.signalWithStart("add", new Object[] {value}, new Object[] {}).getRunId());
    }
    assertEquals(runs.get(0), runs.get(1));
    WorkflowStub run = fixture.client.newUntypedWorkflowStub(options.getWorkflowId());
    run.signal("finish");
    assertEquals(List.of("first", "second"), run.getResult(List.class));
  }

  /** Describe shows what a workflow was started with: type, queue, memo, search attributes. */
  @Test
  void describe() {
    SearchAttributeKey<String> key = SearchAttributeKey.forKeyword(Server.SEARCH_ATTRIBUTE);
    WorkflowOptions.Builder options =
        fixture
            .options()
            .setMemo(Map.of("note", "remember the milk"))
            .setTypedSearchAttributes(SearchAttributes.newBuilder().set(key, "blue").build());
    WorkflowStub run = fixture.start(options, Workflows.Collect.class);
    var description = run.describe();
    assertEquals("Collect", description.getWorkflowType());
    assertEquals(fixture.queue, description.getTaskQueue());
    assertEquals(run.getExecution(), description.getExecution());
    assertEquals(WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING, description.getStatus());
    assertEquals("remember the milk", description.getMemo("note", String.class));
    assertEquals("blue", description.getTypedSearchAttributes().get(key));
    run.signal("finish");
    run.getResult(List.class);
    assertEquals(WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED, run.describe().getStatus());
  }

  /** The id of a running workflow cannot be started again, unless the conflict policy says what to do. */
  @Test
  void idOfARunningWorkflow() {
    WorkflowOptions.Builder options = fixture.options();
    var first = fixture.start(options, Workflows.Collect.class).getExecution();

    options.setWorkflowIdConflictPolicy(WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL);
    var error =
        assertThrows(
            WorkflowExecutionAlreadyStarted.class, () -> fixture.start(options, Workflows.Collect.class));
    assertEquals(first, error.getExecution());

    options.setWorkflowIdConflictPolicy(WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING);
    assertEquals(first, fixture.start(options, Workflows.Collect.class).getExecution());

    options.setWorkflowIdConflictPolicy(WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING);
    assertNotEquals(first, fixture.start(options, Workflows.Collect.class).getExecution());
    assertEquals(WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED, fixture.status(first));
  }

  /** The reuse policy decides whether the id of a closed workflow may be started again. */
  @Test
  void idOfAClosedWorkflow() {
    WorkflowOptions.Builder options = fixture.options();
    run(options, WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, Workflows.Echo.class);
    for (var policy :
        List.of(
            WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
            WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY)) {
      assertThrows(
          WorkflowExecutionAlreadyStarted.class, () -> run(options, policy, Workflows.Echo.class));
    }
    assertThrows(
        WorkflowFailedException.class,
        () -> run(options, WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, Workflows.Fail.class));
    run(options, WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY, Workflows.Echo.class);
  }

  private void run(WorkflowOptions.Builder options, WorkflowIdReusePolicy policy, Class<?> workflow) {
    fixture.start(options.setWorkflowIdReusePolicy(policy), workflow, "again").getResult(String.class);
  }
}

package mainspring.e2e;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.temporal.api.enums.v1.ParentClosePolicy;
import io.temporal.api.enums.v1.WorkflowExecutionStatus;
import io.temporal.client.WorkflowFailedException;
import io.temporal.client.WorkflowStub;
import io.temporal.failure.ApplicationFailure;
import io.temporal.failure.ChildWorkflowFailure;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Child workflows: results, failures, and what becomes of them when their parent closes. */
class ChildrenTest {
  @RegisterExtension final Fixture fixture = new Fixture();

  /** A parent gets its child's result. */
  @Test
  void result() {
    WorkflowStub run = fixture.start(Workflows.Parent.class, "Echo", "from the child");
    assertEquals("from the child", run.getResult(String.class));
    assertEquals(
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED,
        fixture.status(run.getExecution().getWorkflowId() + "/child"));
  }

  /** A child's failure reaches the parent, and through it the client, with the child's own failure as its cause. */
  @Test
  void failure() {
    WorkflowStub run = fixture.start(Workflows.Parent.class, "Fail", "the child had no luck");
    var error = assertThrows(WorkflowFailedException.class, () -> run.getResult(String.class));
    var child = assertInstanceOf(ChildWorkflowFailure.class, error.getCause());
    assertEquals("Fail", child.getWorkflowType());
    var failure = assertInstanceOf(ApplicationFailure.class, child.getCause());
    assertEquals("the child had no luck", failure.getOriginalMessage());
    assertEquals("Unlucky", failure.getType());
  }

  /** The parent close policy decides what becomes of a child whose parent closes. */
  @ParameterizedTest
  @CsvSource({
    "PARENT_CLOSE_POLICY_TERMINATE, WORKFLOW_EXECUTION_STATUS_TERMINATED",
    "PARENT_CLOSE_POLICY_REQUEST_CANCEL, WORKFLOW_EXECUTION_STATUS_CANCELED",
  })
  void parentClosePolicy(ParentClosePolicy policy, WorkflowExecutionStatus wanted) {
    String child = Fixture.unique("child");
    fixture.start(Workflows.ParentThatLeaves.class, child, policy).getResult(Void.class);
    Waiting.eventually(() -> fixture.status(child) == wanted);
  }

  /** An abandoned child outlives its parent. */
  @Test
  void abandoned() {
    String child = Fixture.unique("child");
    var policy = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON;
    fixture.start(Workflows.ParentThatLeaves.class, child, policy).getResult(Void.class);
    assertEquals(WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING, fixture.status(child));
    // Nothing comes to an abandoned child, so the proof is that it still takes a request of ours.
    fixture.client.newUntypedWorkflowStub(child).cancel();
    Waiting.eventually(
        () -> fixture.status(child) == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED);
  }
}

package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
)

// A parent gets its child's result.
func TestChildResult(t *testing.T) {
	f := newFixture(t)
	run := f.start(Parent, "Echo", "from the child")
	require.Equal(t, "from the child", result[string](f, run))
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, f.status(run.GetID()+"/child"))
}

// A child's failure reaches the parent, and through it the client, with the child's own failure as its cause.
func TestChildFailure(t *testing.T) {
	f := newFixture(t)
	err := f.start(Parent, "Fail", "the child had no luck").Get(f.ctx, nil)
	var child *temporal.ChildWorkflowExecutionError
	require.ErrorAs(t, err, &child)
	require.Equal(t, "Fail", child.WorkflowType())
	var application *temporal.ApplicationError
	require.ErrorAs(t, child.Unwrap(), &application)
	require.Equal(t, "the child had no luck", application.Message())
	require.Equal(t, "Unlucky", application.Type())
}

// The parent close policy decides what becomes of a child whose parent closes.
func TestParentClosePolicy(t *testing.T) {
	for policy, wanted := range map[enumspb.ParentClosePolicy]enumspb.WorkflowExecutionStatus{
		enumspb.PARENT_CLOSE_POLICY_TERMINATE:      enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED,
		enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL: enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED,
		enumspb.PARENT_CLOSE_POLICY_ABANDON:        enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
	} {
		t.Run(policy.String(), func(t *testing.T) {
			f := newFixture(t)
			child := unique("child")
			require.NoError(t, f.start(ParentThatLeaves, child, policy).Get(f.ctx, nil))
			if policy == enumspb.PARENT_CLOSE_POLICY_ABANDON {
				// Nothing comes to an abandoned child, so the proof is that it still takes a request of ours.
				require.Equal(t, wanted, f.status(child))
				require.NoError(t, f.CancelWorkflow(f.ctx, child, ""))
				wanted = enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED
			}
			f.eventually(func() bool { return f.status(child) == wanted })
		})
	}
}

package e2e

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/proto"
)

const secret = "the treasure lies under the oak"

// With an encrypting codec the server never sees what the workflow and its client say to each other.
func TestEncryptedPayloads(t *testing.T) {
	key := make([]byte, 32)
	rand.Read(key)
	codec, err := newEncryption(key)
	require.NoError(t, err)
	converter := converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), codec)
	t.Parallel()
	f := newFixtureWith(t, client.Options{DataConverter: converter}, worker.Options{})
	run := f.start(Parent, "Echo", secret)
	require.Equal(t, secret, result[string](f, run))
	history := rawHistory(f, run)
	require.NotContains(t, string(history), secret)
	require.True(t, bytes.Contains(history, []byte("binary/encrypted")))
}

// Without a codec the same history shows the text: the test above looks in the right place.
func TestPlainPayloads(t *testing.T) {
	f := newFixture(t)
	run := f.start(Parent, "Echo", secret)
	require.Equal(t, secret, result[string](f, run))
	require.Contains(t, string(rawHistory(f, run)), secret)
}

// rawHistory is the history's first page as the server sends it.
func rawHistory(f *fixture, run client.WorkflowRun) []byte {
	response, err := f.WorkflowService().GetWorkflowExecutionHistory(f.ctx, &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace: "default",
		Execution: &commonpb.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()},
	})
	require.NoError(f, err)
	raw, err := proto.Marshal(response)
	require.NoError(f, err)
	return raw
}

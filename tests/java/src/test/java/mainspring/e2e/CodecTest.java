package mainspring.e2e;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.temporal.api.workflowservice.v1.GetWorkflowExecutionHistoryRequest;
import io.temporal.client.WorkflowStub;
import io.temporal.common.converter.CodecDataConverter;
import io.temporal.common.converter.DefaultDataConverter;
import java.nio.charset.StandardCharsets;
import java.security.NoSuchAlgorithmException;
import java.util.List;
import javax.crypto.KeyGenerator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Payloads that the server cannot read. */
class CodecTest {
  private static final String SECRET = "the treasure lies under the oak";

  @RegisterExtension final Fixture plain = new Fixture();
  @RegisterExtension final Fixture encrypted = new Fixture(encryption());

  /** With an encrypting codec the server never sees what the workflow and its client say to each other. */
  @Test
  void theServerCannotReadEncryptedPayloads() {
    String history = historyOfASecret(encrypted);
    assertFalse(history.contains(SECRET));
    assertTrue(history.contains("binary/encrypted"));
  }

  /** Without a codec the same history shows the text: the test above looks in the right place. */
  @Test
  void theServerCanReadPlainPayloads() {
    assertTrue(historyOfASecret(plain).contains(SECRET));
  }

  /** Sends the secret through a workflow and its child, and returns the history's first page as the server sends it. */
  private static String historyOfASecret(Fixture fixture) {
    WorkflowStub run = fixture.start(Workflows.Parent.class, "Echo", SECRET);
    assertEquals(SECRET, run.getResult(String.class));
    var request =
        GetWorkflowExecutionHistoryRequest.newBuilder().setNamespace("default").setExecution(run.getExecution());
    byte[] raw =
        Server.shared().stubs().blockingStub().getWorkflowExecutionHistory(request.build()).toByteArray();
    return new String(raw, StandardCharsets.ISO_8859_1);
  }

  private static CodecDataConverter encryption() {
    try {
      KeyGenerator generator = KeyGenerator.getInstance("AES");
      generator.init(256);
      var codec = new EncryptionCodec(generator.generateKey());
      return new CodecDataConverter(DefaultDataConverter.newDefaultInstance(), List.of(codec));
    } catch (NoSuchAlgorithmException error) {
      throw new IllegalStateException(error);
    }
  }
}

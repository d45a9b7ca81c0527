package mainspring.e2e;

import io.temporal.api.workflowservice.v1.DescribeNamespaceRequest;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.serviceclient.WorkflowServiceStubsOptions;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** The server under test: one process for the whole run, which ends with it. */
final class Server {
  static final String SEARCH_ATTRIBUTE = "E2eKeyword";

  private static final List<String> NAMESPACES = List.of("default", "other");
  private static final Duration READY_WITHIN = Duration.ofSeconds(30);
  private static final long ENDS_WITHIN_S = 10;
  private static final long ASK_AGAIN_AFTER_MS = 20;
  private static final Path LOG = Path.of("target", "server.log");

  private static final Server SHARED = start();

  private final Process process;
  private final WorkflowServiceStubs stubs;

  /** The server that all tests share. Each test has its own workflow ids and task queues. */
  static Server shared() {
    return SHARED;
  }

  private Server(Process process, WorkflowServiceStubs stubs) {
    this.process = process;
    this.stubs = stubs;
  }

  WorkflowServiceStubs stubs() {
    return stubs;
  }

  private static Server start() {
    try {
      int port = freePort();
      Path directory = Files.createTempDirectory("e2e-java-");
      Process process =
          new ProcessBuilder(commandLine(directory.resolve("data.db"), port))
              .redirectErrorStream(true)
              .redirectOutput(LOG.toFile())
              .start();
      String target = "127.0.0.1:" + port;
      Server server =
          new Server(
              process,
              WorkflowServiceStubs.newServiceStubs(
                  WorkflowServiceStubsOptions.newBuilder().setTarget(target).build()));
      Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(directory)));
      server.waitUntilReady();
      return server;
    } catch (IOException error) {
      throw new IllegalStateException("cannot start the server", error);
    }
  }

  /** Asks the process to end, and insists after a while. */
  private void stop(Path directory) {
    stubs.shutdownNow();
    process.destroy();
    try {
      if (!process.waitFor(ENDS_WITHIN_S, TimeUnit.SECONDS)) {
        process.destroyForcibly().waitFor();
      }
      try (var files = Files.list(directory)) {
        for (Path file : files.toList()) {
          Files.delete(file);
        }
      }
      Files.delete(directory);
    } catch (IOException | InterruptedException error) {
      System.err.println("cannot clean up after the server: " + error);
    }
  }

  private void waitUntilReady() {
    Instant deadline = Instant.now().plus(READY_WITHIN);
    while (true) {
      try {
        for (String namespace : NAMESPACES) {
          stubs
              .blockingStub()
              .withDeadlineAfter(2, TimeUnit.SECONDS)
              .describeNamespace(DescribeNamespaceRequest.newBuilder().setNamespace(namespace).build());
        }
        return;
      } catch (RuntimeException error) {
        if (!process.isAlive() || Instant.now().isAfter(deadline)) {
          throw new IllegalStateException("the server did not start; its log is " + LOG, error);
        }
        Waiting.pause(ASK_AGAIN_AFTER_MS);
      }
    }
  }

  /** What serves {@code dataFile} on {@code port}. Both servers take the same flags. */
  private static List<String> commandLine(Path dataFile, int port) {
    Map<String, String> environment = System.getenv();
    boolean genuine = "temporal".equals(environment.get("E2E_SERVER"));
    List<String> words = new ArrayList<>();
    words.add(
        genuine
            ? environment.getOrDefault("TEMPORAL_BIN", "temporal")
            : environment.getOrDefault("MAINSPRING_BIN", "../../target/debug/mainspring"));
    words.addAll(List.of("server", "start-dev", "--headless"));
    words.addAll(List.of("--db-filename", dataFile.toString(), "--port", String.valueOf(port)));
    words.addAll(List.of("--namespace", "other", "--search-attribute", SEARCH_ATTRIBUTE + "=Keyword"));
    if (genuine) {
      // Off by default there, on by default in ours.
      words.addAll(List.of("--dynamic-config-value", "system.enableCrossNamespaceCommands=true"));
    }
    return words;
  }

  private static int freePort() throws IOException {
    try (ServerSocket probe = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      return probe.getLocalPort();
    }
  }
}

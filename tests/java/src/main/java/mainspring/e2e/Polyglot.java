package mainspring.e2e;

import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowOptions;
import io.temporal.client.WorkflowStub;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.serviceclient.WorkflowServiceStubsOptions;
import io.temporal.worker.Worker;
import io.temporal.worker.WorkerFactory;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.UUID;

/**
 * The Java side of the tests in tests/polyglot.
 *
 * <pre>
 * Polyglot worker ADDRESS                 serves JavaGreeting on polyglot-java; says "listening"
 * Polyglot start ADDRESS NAME LANGUAGE... runs each language's greeting by name; prints its result
 * </pre>
 */
public final class Polyglot {
  @WorkflowInterface
  public interface JavaGreeting {
    @WorkflowMethod
    String greet(String name);
  }

  public static final class JavaGreetingImpl implements JavaGreeting {
    @Override
    public String greet(String name) {
      return "hello " + name + " from Java";
    }
  }

  public static void main(String[] words) {
    if (words.length < 2) {
      System.err.println("usage: Polyglot worker ADDRESS | Polyglot start ADDRESS NAME LANGUAGE...");
      System.exit(2);
    }
    WorkflowServiceStubs stubs =
        WorkflowServiceStubs.newServiceStubs(
            WorkflowServiceStubsOptions.newBuilder().setTarget(words[1]).build());
    WorkflowClient client = WorkflowClient.newInstance(stubs);
    if (words[0].equals("worker")) {
      serve(client);
    } else {
      start(client, words[2], Arrays.asList(words).subList(3, words.length));
      stubs.shutdown();
    }
  }

  /** Its threads go on until the process is ended. */
  private static void serve(WorkflowClient client) {
    WorkerFactory factory = WorkerFactory.newInstance(client);
    Worker worker = factory.newWorker("polyglot-java");
    worker.registerWorkflowImplementationTypes(JavaGreetingImpl.class);
    factory.start();
    System.out.println("listening");
  }

  private static void start(WorkflowClient client, String name, List<String> languages) {
    for (String language : languages) {
      WorkflowOptions options =
          WorkflowOptions.newBuilder()
              .setWorkflowId(UUID.randomUUID().toString())
              .setTaskQueue("polyglot-" + language.toLowerCase(Locale.ROOT))
              .build();
      WorkflowStub workflow = client.newUntypedWorkflowStub(language + "Greeting", options);
      workflow.start(name);
      System.out.println(workflow.getResult(String.class));
    }
  }

  private Polyglot() {}
}

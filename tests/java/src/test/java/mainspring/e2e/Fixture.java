package mainspring.e2e;

import com.google.protobuf.ByteString;
import io.temporal.api.common.v1.WorkflowExecution;
import io.temporal.api.enums.v1.EventType;
import io.temporal.api.enums.v1.PendingActivityState;
import io.temporal.api.enums.v1.WorkflowExecutionStatus;
import io.temporal.api.history.v1.History;
import io.temporal.api.history.v1.HistoryEvent;
import io.temporal.api.workflowservice.v1.GetWorkflowExecutionHistoryRequest;
import io.temporal.api.workflowservice.v1.GetWorkflowExecutionHistoryResponse;
import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowClientOptions;
import io.temporal.client.WorkflowOptions;
import io.temporal.client.WorkflowStub;
import io.temporal.common.converter.DataConverter;
import io.temporal.common.converter.DefaultDataConverter;
import io.temporal.worker.Worker;
import io.temporal.worker.WorkerFactory;
import io.temporal.worker.WorkerFactoryOptions;
import io.temporal.worker.WorkerOptions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/** A client, a task queue and a worker of one test alone. */
final class Fixture implements BeforeEachCallback, AfterEachCallback {
  final String queue = unique("queue");
  final WorkflowClient client;

  private final WorkerFactoryOptions workerOptions;
  private final List<WorkerFactory> workers = new ArrayList<>();

  Fixture() {
    this(DefaultDataConverter.STANDARD_INSTANCE, WorkerFactoryOptions.getDefaultInstance());
  }

  Fixture(DataConverter converter) {
    this(converter, WorkerFactoryOptions.getDefaultInstance());
  }

  Fixture(WorkerFactoryOptions workerOptions) {
    this(DefaultDataConverter.STANDARD_INSTANCE, workerOptions);
  }

  private Fixture(DataConverter converter, WorkerFactoryOptions workerOptions) {
    this.workerOptions = workerOptions;
    WorkflowClientOptions options = WorkflowClientOptions.newBuilder().setDataConverter(converter).build();
    client = WorkflowClient.newInstance(Server.shared().stubs(), options);
  }

  @Override
  public void beforeEach(ExtensionContext context) {
    startWorker();
  }

  @Override
  public void afterEach(ExtensionContext context) {
    workers.forEach(WorkerFactory::shutdownNow);
    workers.forEach(worker -> worker.awaitTermination(10, TimeUnit.SECONDS));
  }

  /** Adds a worker. A worker that is gone is waited for one second, not five. */
  void startWorker() {
    WorkerFactory factory = WorkerFactory.newInstance(client, workerOptions);
    WorkerOptions options =
        WorkerOptions.newBuilder().setStickyQueueScheduleToStartTimeout(Duration.ofSeconds(1)).build();
    Worker worker = factory.newWorker(queue, options);
    worker.registerWorkflowImplementationTypes(Workflows.ALL);
    worker.registerActivitiesImplementations(new Activities.Implementation());
    factory.start();
    workers.add(factory);
  }

  /** Ends the worker that was started last. */
  void stopWorker() {
    WorkerFactory worker = workers.remove(workers.size() - 1);
    worker.shutdown();
    worker.awaitTermination(10, TimeUnit.SECONDS);
  }

  WorkflowOptions.Builder options() {
    return WorkflowOptions.newBuilder().setWorkflowId(unique("workflow")).setTaskQueue(queue);
  }

  /** Starts a workflow by the name of its interface. */
  WorkflowStub start(Class<?> workflow, Object... arguments) {
    return start(options(), workflow, arguments);
  }

  WorkflowStub start(WorkflowOptions.Builder options, Class<?> workflow, Object... arguments) {
    WorkflowStub stub = client.newUntypedWorkflowStub(workflow.getSimpleName(), options.build());
    stub.start(arguments);
    return stub;
  }

  /** The state of the newest run, as the server describes it. */
  WorkflowExecutionStatus status(String workflowId) {
    return client.newUntypedWorkflowStub(workflowId).describe().getStatus();
  }

  /** The state of one run. */
  WorkflowExecutionStatus status(WorkflowExecution run) {
    return client.newUntypedWorkflowStub(run, Optional.empty()).describe().getStatus();
  }

  /** The history so far, as the server sends it. */
  History history(WorkflowStub stub) {
    WorkflowExecution execution = stub.getExecution();
    return client.fetchHistory(execution.getWorkflowId(), execution.getRunId()).getHistory();
  }

  /** Follows the history by long poll until it has {@code count} events of the type. */
  void waitForEvent(WorkflowStub stub, EventType wanted, int count) {
    GetWorkflowExecutionHistoryRequest.Builder request =
        GetWorkflowExecutionHistoryRequest.newBuilder()
            .setNamespace("default")
            .setExecution(stub.getExecution())
            .setWaitNewEvent(true);
    long found = 0;
    ByteString next;
    do {
      GetWorkflowExecutionHistoryResponse page =
          Server.shared()
              .stubs()
              .blockingStub()
              .withDeadlineAfter(Waiting.DEADLINE.toSeconds(), TimeUnit.SECONDS)
              .getWorkflowExecutionHistory(request.build());
      found += count(page.getHistory(), wanted);
      if (found >= count) {
        return;
      }
      next = page.getNextPageToken();
      request.setNextPageToken(next);
    } while (!next.isEmpty());
    throw new AssertionError("the workflow closed without another " + wanted);
  }

  /** Asks until a worker runs an activity of the workflow. */
  void waitForStartedActivity(WorkflowStub stub) {
    Waiting.eventually(
        () ->
            stub.describe().getRawDescription().getPendingActivitiesList().stream()
                .anyMatch(each -> each.getState() == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED));
  }

  static long count(History history, EventType wanted) {
    return history.getEventsList().stream().map(HistoryEvent::getEventType).filter(wanted::equals).count();
  }

  /** A name that no other test uses. */
  static String unique(String prefix) {
    return prefix + "-" + UUID.randomUUID();
  }
}

package mainspring.e2e;

import io.temporal.activity.ActivityCancellationType;
import io.temporal.activity.ActivityOptions;
import io.temporal.api.enums.v1.ParentClosePolicy;
import io.temporal.common.RetryOptions;
import io.temporal.failure.ActivityFailure;
import io.temporal.failure.ApplicationFailure;
import io.temporal.failure.CanceledFailure;
import io.temporal.workflow.Async;
import io.temporal.workflow.CancellationScope;
import io.temporal.workflow.ChildWorkflowOptions;
import io.temporal.workflow.Promise;
import io.temporal.workflow.QueryMethod;
import io.temporal.workflow.SignalMethod;
import io.temporal.workflow.UpdateMethod;
import io.temporal.workflow.UpdateValidatorMethod;
import io.temporal.workflow.Workflow;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** The workflows that the tests start, each by the name of its interface. Each does one thing. */
final class Workflows {
  static final Class<?>[] ALL = {
    AddInTurnImpl.class, AddAtOnceImpl.class, CallActivityImpl.class, CancelActivityImpl.class,
    TimerImpl.class, CollectImpl.class, WaitForeverImpl.class, CountDownImpl.class, EchoImpl.class,
    FailImpl.class, ParentImpl.class, ParentThatLeavesImpl.class, RememberImpl.class,
    AccountImpl.class,
  };

  /** For activities that end at once, and are retried at once. */
  private static final ActivityOptions QUICK =
      ActivityOptions.newBuilder()
          .setStartToCloseTimeout(Duration.ofSeconds(20))
          .setRetryOptions(RetryOptions.newBuilder().setInitialInterval(Duration.ofMillis(10)).build())
          .build();

  private static Activities quick() {
    return Workflow.newActivityStub(Activities.class, QUICK);
  }

  @WorkflowInterface
  public interface AddInTurn {
    @WorkflowMethod
    int run(int steps);
  }

  /** Calls activities one after another, each with the result of the last. */
  public static final class AddInTurnImpl implements AddInTurn {
    @Override
    public int run(int steps) {
      int number = 0;
      for (int step = 0; step < steps; step++) {
        number = quick().addOne(number);
      }
      return number;
    }
  }

  @WorkflowInterface
  public interface AddAtOnce {
    @WorkflowMethod
    List<Integer> run(int width);
  }

  /** Calls activities in parallel. */
  public static final class AddAtOnceImpl implements AddAtOnce {
    @Override
    public List<Integer> run(int width) {
      List<Promise<Integer>> calls = new ArrayList<>();
      for (int number = 0; number < width; number++) {
        calls.add(Async.function(quick()::addOne, number));
      }
      return calls.stream().map(Promise::get).toList();
    }
  }

  @WorkflowInterface
  public interface CallActivity {
    @WorkflowMethod
    Object run(String activity, Object argument);
  }

  /** Runs one activity by name, with quick retries, and fails as it fails. */
  public static final class CallActivityImpl implements CallActivity {
    @Override
    public Object run(String activity, Object argument) {
      return Workflow.newUntypedActivityStub(QUICK).execute(activity, Object.class, argument);
    }
  }

  @WorkflowInterface
  public interface CancelActivity {
    @WorkflowMethod
    String run();

    @SignalMethod
    void cancel();
  }

  /** Cancels its activity when signalled, and says how the activity ended. */
  public static final class CancelActivityImpl implements CancelActivity {
    private boolean cancel;

    @Override
    public String run() {
      ActivityOptions options =
          ActivityOptions.newBuilder()
              .setStartToCloseTimeout(Duration.ofMinutes(1))
              .setHeartbeatTimeout(Duration.ofSeconds(1))
              .setCancellationType(ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
              .build();
      Activities activities = Workflow.newActivityStub(Activities.class, options);
      List<Promise<Void>> activity = new ArrayList<>();
      CancellationScope scope =
          Workflow.newCancellationScope(
              () -> activity.add(Async.procedure(activities::beatUntilCancelled)));
      scope.run();
      Workflow.await(() -> cancel);
      scope.cancel();
      try {
        activity.get(0).get();
        return "completed";
      } catch (ActivityFailure failure) {
        return failure.getCause() instanceof CanceledFailure ? "cancelled" : failure.toString();
      }
    }

    @Override
    public void cancel() {
      cancel = true;
    }
  }

  @WorkflowInterface
  public interface Timer {
    @WorkflowMethod
    long run(long ms);
  }

  /** Sleeps, and returns how long that took on the workflow's clock. */
  public static final class TimerImpl implements Timer {
    @Override
    public long run(long ms) {
      long before = Workflow.currentTimeMillis();
      Workflow.sleep(ms);
      return Workflow.currentTimeMillis() - before;
    }
  }

  @WorkflowInterface
  public interface Collect {
    @WorkflowMethod
    List<String> run();

    @SignalMethod
    void add(String value);

    @SignalMethod
    void finish();

    @QueryMethod
    List<String> values();
  }

  /** Gathers {@code add} signals until {@code finish}; the query {@code values} shows them meanwhile. */
  public static final class CollectImpl implements Collect {
    private final List<String> values = new ArrayList<>();
    private boolean finished;

    @Override
    public List<String> run() {
      Workflow.await(() -> finished);
      return values;
    }

    @Override
    public void add(String value) {
      values.add(value);
    }

    @Override
    public void finish() {
      finished = true;
    }

    @Override
    public List<String> values() {
      return values;
    }
  }

  @WorkflowInterface
  public interface Account {
    @WorkflowMethod
    int run();

    @UpdateMethod
    int deposit(int amount);

    @UpdateValidatorMethod(updateName = "deposit")
    void check(int amount);

    @SignalMethod
    void close();
  }

  /** A balance that {@code deposit} updates change, of one more than they say, until {@code close}. */
  public static final class AccountImpl implements Account {
    private int balance;
    private boolean closed;

    @Override
    public int run() {
      Workflow.await(() -> closed);
      return balance;
    }

    @Override
    public int deposit(int amount) {
      int deposited = quick().addOne(amount);
      balance += deposited;
      return balance;
    }

    @Override
    public void check(int amount) {
      if (amount < 0) {
        throw ApplicationFailure.newFailure("no debts", "Negative");
      }
    }

    @Override
    public void close() {
      closed = true;
    }
  }

  @WorkflowInterface
  public interface WaitForever {
    @WorkflowMethod
    void run();
  }

  /** Ends only by cancellation or termination; cleans up with an activity when cancelled. */
  public static final class WaitForeverImpl implements WaitForever {
    @Override
    public void run() {
      try {
        Workflow.await(() -> false);
      } catch (CanceledFailure cancelled) {
        Workflow.newDetachedCancellationScope(() -> quick().addOne(1)).run();
        throw cancelled;
      }
    }
  }

  @WorkflowInterface
  public interface CountDown {
    @WorkflowMethod
    List<Integer> run(int from, List<Integer> passed);
  }

  /** Continues as new until {@code from} is 0, and returns the numbers that it passed. */
  public static final class CountDownImpl implements CountDown {
    @Override
    public List<Integer> run(int from, List<Integer> passed) {
      List<Integer> all = new ArrayList<>(passed);
      all.add(from);
      if (from > 0) {
        Workflow.continueAsNew(from - 1, all);
      }
      return all;
    }
  }

  @WorkflowInterface
  public interface Echo {
    @WorkflowMethod
    String run(String value);
  }

  /** Returns its argument. */
  public static final class EchoImpl implements Echo {
    @Override
    public String run(String value) {
      return value;
    }
  }

  @WorkflowInterface
  public interface Fail {
    @WorkflowMethod
    void run(String message);
  }

  /** Fails with details and a cause. */
  public static final class FailImpl implements Fail {
    @Override
    public void run(String message) {
      throw ApplicationFailure.newFailureWithCause(
          message, "Unlucky", new IllegalStateException("the reason"), Map.of("code", 42), "more");
    }
  }

  @WorkflowInterface
  public interface Parent {
    @WorkflowMethod
    String run(String child, String argument);
  }

  /** Runs a child by name and returns its result; fails as it fails. */
  public static final class ParentImpl implements Parent {
    @Override
    public String run(String child, String argument) {
      String id = Workflow.getInfo().getWorkflowId() + "/child";
      ChildWorkflowOptions options = ChildWorkflowOptions.newBuilder().setWorkflowId(id).build();
      return Workflow.newUntypedChildWorkflowStub(child, options).execute(String.class, argument);
    }
  }

  @WorkflowInterface
  public interface ParentThatLeaves {
    @WorkflowMethod
    void run(String childId, ParentClosePolicy policy);
  }

  /** Closes while its child runs; the policy decides what becomes of the child. */
  public static final class ParentThatLeavesImpl implements ParentThatLeaves {
    @Override
    public void run(String childId, ParentClosePolicy policy) {
      ChildWorkflowOptions options =
          ChildWorkflowOptions.newBuilder().setWorkflowId(childId).setParentClosePolicy(policy).build();
      WaitForever child = Workflow.newChildWorkflowStub(WaitForever.class, options);
      Async.procedure(child::run);
      Workflow.getWorkflowExecution(child).get();
    }
  }

  @WorkflowInterface
  public interface Remember {
    @WorkflowMethod
    int run();

    @SignalMethod
    void proceed();
  }

  /** Holds the result of an activity over a wait for a signal, then adds one more. */
  public static final class RememberImpl implements Remember {
    /** How often a worker began to run the code of a workflow id: once, and once more for each replay. */
    static final Map<String, Integer> TIMES_BEGUN = new ConcurrentHashMap<>();

    private boolean proceed;

    @Override
    public int run() {
      TIMES_BEGUN.merge(Workflow.getInfo().getWorkflowId(), 1, Integer::sum);
      int number = quick().addOne(0);
      Workflow.await(() -> proceed);
      return quick().addOne(number);
    }

    @Override
    public void proceed() {
      proceed = true;
    }
  }

  private Workflows() {}
}

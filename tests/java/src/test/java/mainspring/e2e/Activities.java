package mainspring.e2e;

import io.temporal.activity.Activity;
import io.temporal.activity.ActivityExecutionContext;
import io.temporal.activity.ActivityInterface;
import io.temporal.failure.ApplicationFailure;
import java.util.ArrayList;
import java.util.List;

/** The activities that the workers run. */
@ActivityInterface
public interface Activities {
  int addOne(int number);

  /** Fails until it is called for the given attempt, which it returns. */
  int failUntil(int attempt);

  /** Fails for good, with details. */
  void refuse(String reason);

  /** Counts up, heartbeats each number and dies at each; the next attempt goes on from its details. */
  List<Integer> resumeFromHeartbeat(int steps);

  /** Heartbeats until a reply says that it is cancelled. */
  void beatUntilCancelled();

  final class Implementation implements Activities {
    @Override
    public int addOne(int number) {
      return number + 1;
    }

    @Override
    public int failUntil(int attempt) {
      int current = Activity.getExecutionContext().getInfo().getAttempt();
      if (current != attempt) {
        throw new IllegalStateException("attempt " + current + " failed");
      }
      return current;
    }

    @Override
    public void refuse(String reason) {
      throw ApplicationFailure.newNonRetryableFailure("refused", "Refusal", reason);
    }

    @Override
    public List<Integer> resumeFromHeartbeat(int steps) {
      ActivityExecutionContext context = Activity.getExecutionContext();
      List<Integer> done = new ArrayList<>();
      for (Object number : context.getHeartbeatDetails(List.class).orElse(List.of())) {
        done.add((Integer) number);
      }
      if (done.size() == steps) {
        return done;
      }
      done.add(done.size());
      context.heartbeat(done);
      throw new IllegalStateException("died");
    }

    @Override
    public void beatUntilCancelled() {
      while (true) {
        Activity.getExecutionContext().heartbeat(null); // throws once it is cancelled
        Waiting.pause(50);
      }
    }
  }
}

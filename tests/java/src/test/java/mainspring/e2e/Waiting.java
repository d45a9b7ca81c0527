package mainspring.e2e;

import java.time.Duration;
import java.time.Instant;
import java.util.function.BooleanSupplier;

/** Waiting for conditions, with a deadline. */
final class Waiting {
  static final Duration DEADLINE = Duration.ofSeconds(30);

  private static final long ASK_AGAIN_AFTER_MS = 20;

  /** Asks {@code condition} until it holds. */
  static void eventually(BooleanSupplier condition) {
    Instant deadline = Instant.now().plus(DEADLINE);
    while (!condition.getAsBoolean()) {
      if (Instant.now().isAfter(deadline)) {
        throw new AssertionError("the condition did not come true in time");
      }
      pause(ASK_AGAIN_AFTER_MS);
    }
  }

  /** The pace of a loop that asks again; never the condition itself. */
  static void pause(long ms) {
    try {
      Thread.sleep(ms);
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(error);
    }
  }

  private Waiting() {}
}

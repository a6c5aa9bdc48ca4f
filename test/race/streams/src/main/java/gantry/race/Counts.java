package gantry.race;

import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;

/** What the job has done, counted by its threads and read by its watcher. */
final class Counts {
    private final AtomicLong first = new AtomicLong();
    private final LongAdder read = new LongAdder();
    private final LongAdder windows = new LongAdder();
    private final Map<String, LongAdder> rejects = new ConcurrentHashMap<>();

    /** Called when a record arrives. */
    void begin() {
        if (first.get() == 0) {
            first.compareAndSet(0, System.nanoTime());
        }
    }

    /** Called when a record has been processed. */
    void end() {
        read.increment();
    }

    void window() {
        windows.increment();
    }

    void reject(String reason) {
        rejects.computeIfAbsent(reason, k -> new LongAdder()).increment();
    }

    long read() {
        return read.sum();
    }

    /** When the first record arrived (System.nanoTime), or 0. */
    long firstNanos() {
        return first.get();
    }

    long windows() {
        return windows.sum();
    }

    /** Rejects by reason; invalid ones are also summed under "invalid". */
    Map<String, Long> rejects() {
        Map<String, Long> all = new TreeMap<>(Map.of("duplicate", 0L, "late", 0L, "invalid", 0L));
        rejects.forEach((reason, n) -> {
            all.put(reason, n.sum());
            if (reason.startsWith("invalid_")) {
                all.merge("invalid", n.sum(), Long::sum);
            }
        });
        return all;
    }
}

package gantry.race;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads the outputs of StreamsJob as a read_committed consumer and compares them with the truth that Load printed
 * ({@code --truth FILE}). Exits 1 on any difference. Duplicated output of an at-least-once job after a crash is one.
 */
public final class Check {
    private long events;
    private long windows;
    private long windowed;
    private double speedSum;
    private double waited;
    private final Map<String, Long> rejects = new TreeMap<>();
    private final Wire.Reader reader = new Wire.Reader();

    private Check() {}

    public static void main(String[] argv) throws Exception {
        Args args = new Args(argv, "truth");
        new Check().run(java.nio.file.Files.readString(java.nio.file.Path.of(args.get("truth", ""))));
    }

    private void run(String truth) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", Args.brokers(), "isolation.level", "read_committed",
            "auto.offset.reset", "earliest", "max.poll.records", 10_000);
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> all = List.of(Rules.EVENTS, Rules.WINDOWS, Rules.REJECTS).stream()
                .flatMap(t -> consumer.partitionsFor(t).stream())
                .map(p -> new TopicPartition(p.topic(), p.partition())).toList();
            consumer.assign(all);
            Map<TopicPartition, Long> end = written(all);
            long began = System.nanoTime();
            while (end.entrySet().stream().anyMatch(e -> consumer.position(e.getKey()) < e.getValue())) {
                if (System.nanoTime() - began > 90_000_000_000L) {
                    System.err.println("check: something written is neither committed nor aborted after 90 s");
                    break;
                }
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    take(r);
                }
            }
            waited = (System.nanoTime() - began) / 1e9;
        }
        compare(truth);
    }

    /**
     * The ends of what has been written, committed or not. The ends that a read_committed consumer sees will not do: a
     * transaction that a killed producer left open hides what others committed behind it, until it times out.
     */
    private static Map<TopicPartition, Long> written(List<TopicPartition> all) throws Exception {
        Map<TopicPartition, Long> ends = new HashMap<>();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", Args.brokers()))) {
            var asked = all.stream().collect(Collectors.toMap(p -> p, p -> OffsetSpec.latest()));
            admin.listOffsets(asked, new ListOffsetsOptions(IsolationLevel.READ_UNCOMMITTED)).all().get()
                .forEach((p, o) -> ends.put(p, o.offset()));
        }
        return ends;
    }

    private void take(ConsumerRecord<byte[], byte[]> r) throws Wire.Malformed {
        switch (r.topic()) {
            case Rules.EVENTS -> events++;
            case Rules.WINDOWS -> {
                Wire.Reader.WindowSummary w = reader.window(r.value());
                windows++;
                windowed += w.count();
                speedSum += w.speed();
            }
            default -> {
                String reason = new String(r.headers().lastHeader(Rules.REASON).value(), StandardCharsets.US_ASCII);
                rejects.merge(reason.startsWith("invalid_") ? "invalid" : reason, 1L, Long::sum);
            }
        }
    }

    private void compare(String truth) {
        long late = number(truth, "late");
        StringBuilder wrong = new StringBuilder();
        // A late reading is valid and no duplicate, so it is an event; only the window stage turns it down.
        differ(wrong, "events", number(truth, "accepted") + late, events);
        differ(wrong, "late", late, rejects.getOrDefault("late", 0L));
        differ(wrong, "duplicates", number(truth, "duplicates"), rejects.getOrDefault("duplicate", 0L));
        differ(wrong, "invalid", number(truth, "invalid"), rejects.getOrDefault("invalid", 0L));
        differ(wrong, "windows", number(truth, "windows"), windows);
        differ(wrong, "windowed", number(truth, "windowed"), windowed);
        double expected = Double.parseDouble(field(truth, "speed_sum"));
        if (Math.abs(expected - speedSum) > 1e-6 * Math.max(1, expected)) {
            wrong.append(String.format(" speed_sum: true %f, found %f;", expected, speedSum));
        }
        System.out.printf("{\"check\":\"%s\",\"events\":%d,\"windows\":%d,\"windowed\":%d,\"speed_sum\":%.6f,"
            + "\"read_s\":%.1f,\"differences\":\"%s\"}%n",
            wrong.isEmpty() ? "ok" : "DIFFERS", events, windows, windowed, speedSum, waited, wrong.toString().strip());
        System.exit(wrong.isEmpty() ? 0 : 1);
    }

    private static void differ(StringBuilder wrong, String what, long expected, long found) {
        if (expected != found) {
            wrong.append(String.format(" %s: true %d, found %d;", what, expected, found));
        }
    }

    private static long number(String json, String name) {
        return Long.parseLong(field(json, name));
    }

    private static String field(String json, String name) {
        Matcher m = Pattern.compile("\"" + name + "\":([-0-9.]+)").matcher(json);
        if (!m.find()) {
            throw new IllegalArgumentException("no " + name + " in the truth");
        }
        return m.group(1);
    }
}

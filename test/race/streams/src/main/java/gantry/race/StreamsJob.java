package gantry.race;

import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.Stores;

/**
 * Gantry's job on Kafka Streams: validate, deduplicate, fold into windows (Processor API, RocksDB stores with
 * changelogs).
 *
 * <p>With {@code --exit on} (the default) it reads what traffic-raw held when it started, prints one JSON line and
 * exits. With {@code --exit off} it runs until it is stopped.
 */
public final class StreamsJob {
    static final String EVENTS_SINK = "events";
    static final String WINDOWS_SINK = "window-results";
    static final String REJECTS_SINK = "rejects";

    private static final String SOURCE = "raw";

    private final Args args;
    private final boolean eos;
    private final Counts counts = new Counts();

    private StreamsJob(Args args) {
        this.args = args;
        this.eos = args.on("eos", true);
    }

    public static void main(String[] argv) throws Exception {
        new StreamsJob(new Args(argv, "eos", "app", "state", "threads", "commit-ms", "cache-mib", "linger-ms",
            "compression", "exit")).run();
    }

    private Topology topology() {
        var bytes = new ByteArraySerializer();
        return new Topology()
            .addSource(SOURCE, new ByteArrayDeserializer(), new ByteArrayDeserializer(), Rules.RAW)
            .addProcessor(Dedup.NAME, () -> new Dedup(counts), SOURCE)
            .addProcessor(Windows.NAME, () -> new Windows(counts), Dedup.NAME)
            .addStateStore(Stores.windowStoreBuilder(
                Stores.persistentWindowStore(Dedup.STORE, Duration.ofMillis(Dedup.RETENTION),
                    Duration.ofMillis(Rules.WINDOW), false),
                Serdes.ByteArray(), Serdes.ByteArray()).withCachingEnabled(), Dedup.NAME)
            .addStateStore(Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(Windows.STORE), Serdes.ByteArray(), Serdes.ByteArray())
                .withCachingEnabled(), Windows.NAME)
            .addSink(EVENTS_SINK, Rules.EVENTS, bytes, bytes, Dedup.NAME)
            .addSink(WINDOWS_SINK, Rules.WINDOWS, bytes, bytes, Windows.NAME)
            .addSink(REJECTS_SINK, Rules.REJECTS, bytes, bytes, Dedup.NAME, Windows.NAME);
    }

    private Properties config() {
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, args.get("app", "race-streams"));
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, Args.brokers());
        p.put(StreamsConfig.STATE_DIR_CONFIG, args.get("state", "streams-state"));
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, (int) args.get("threads", 2));
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
            eos ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, args.get("commit-ms", eos ? 100 : 30_000));
        p.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        // 2,000 sensors and a few buckets each fit, so that the cache folds all the writes between two commits.
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, args.get("cache-mib", 64) * 1024 * 1024);
        // Without these a backlog is read in sips: more bytes to a fetch, more records to a poll and waiting in a task.
        p.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 5000);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5000);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 * 1024 * 1024);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
        // 100 ms is Streams' default.
        p.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), args.get("linger-ms", "100"));
        p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), args.get("compression", "none"));
        // Static membership: a restarted process takes its place back at once, without waiting for its ghost to expire.
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), args.get("app", "race-streams"));
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 10_000);
        return p;
    }

    private void run() throws Exception {
        long end = endOfInput();
        boolean exit = args.on("exit", true);
        KafkaStreams streams = new KafkaStreams(topology(), config());
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            Runtime.getRuntime().halt(1); // a measurement that failed must not look like a slow one
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        awaitRead(exit ? end : Long.MAX_VALUE, streams);
        long last = System.nanoTime();
        Proc.Use use = Proc.self();
        streams.close();
        double seconds = (last - counts.firstNanos()) / 1e9;
        double closed = (System.nanoTime() - counts.firstNanos()) / 1e9;
        System.out.printf("{\"job\":\"streams\",\"eos\":%b,\"read\":%d,\"seconds\":%.2f,\"per_s\":%.0f,"
            + "\"seconds_to_closed\":%.2f,\"cpu_s\":%.1f,\"cpu_s_all\":%.1f,\"peak_rss_mib\":%.0f,"
            + "\"windows\":%d,\"rejects\":%s}%n",
            eos, counts.read(), seconds, counts.read() / seconds, closed, use.cpuSeconds(), Proc.self().cpuSeconds(),
            Proc.self().peakMiB(), counts.windows(),
            counts.rejects().entrySet().stream().map(e -> '"' + e.getKey() + "\":" + e.getValue())
                .collect(Collectors.joining(",", "{", "}")));
        Runtime.getRuntime().halt(0); // closed already; skip the hook
    }

    /** Waits until so many records have been read, and says on standard output how far the job is. */
    private void awaitRead(long end, KafkaStreams streams) throws InterruptedException {
        boolean running = false;
        long reported = 0;
        for (long read = counts.read(); read < end; read = counts.read()) {
            if (!running && streams.state() == KafkaStreams.State.RUNNING) {
                running = true;
                System.out.printf("running %.2f s after the JVM's start%n", sinceStart());
            }
            if (reported == 0 && read > 0) {
                reported = 1;
                System.out.printf("first record %.2f s after the JVM's start%n", sinceStart());
            }
            if (read / 100_000 > reported / 100_000) {
                reported = read;
                System.out.println("progress " + read);
            }
            Thread.sleep(5);
        }
    }

    private static double sinceStart() {
        long start = ProcessHandle.current().info().startInstant().orElseThrow().toEpochMilli();
        return (System.currentTimeMillis() - start) / 1e3;
    }

    private static long endOfInput() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", Args.brokers()))) {
            Topics.create(admin);
            var all = IntStream.range(0, Rules.PARTITIONS).boxed()
                .collect(Collectors.toMap(p -> new TopicPartition(Rules.RAW, p), p -> OffsetSpec.latest()));
            return admin.listOffsets(all).all().get().values().stream().mapToLong(o -> o.offset()).sum();
        }
    }
}

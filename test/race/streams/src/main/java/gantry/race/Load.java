package gantry.race;

import java.nio.charset.StandardCharsets;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Fills traffic-raw with readings that a seed determines, and prints the true counts as one JSON line.
 *
 * <p>Of every 1,000 readings 10 are sent again 1 to 6 s later (exact duplicates), 5 have speed 150 (invalid), 5 have no
 * speed (valid), 10 arrive 30 to 60 s late (out of order, inside the grace) and 2 arrive 10 to 20 minutes late (late).
 * With {@code --rate} the readings carry the time at which they are due to be sent, and none arrives out of order.
 */
public final class Load {
    private static final long CADENCE = 30 * Rules.SECOND;

    private final long count;
    private final long rate;
    private final SplittableRandom random;
    private final KafkaProducer<byte[], byte[]> producer;
    private final AtomicReference<Exception> failure = new AtomicReference<>();
    private final Wire.Writer writer = new Wire.Writer();
    private final Truth truth = new Truth();
    private final Sensor[] sensors;
    /** Readings held back, by the time they are due. */
    private final PriorityQueue<Held> held =
        new PriorityQueue<>(Comparator.comparingLong((Held h) -> h.due).thenComparingLong(h -> h.n));
    private long sent;
    private long lastRecordTimestamp;

    private record Held(long due, long n, Sensor sensor, Wire.Reading reading, boolean copy) {}

    private static final class Sensor {
        final byte[] id;
        final double latitude;
        final double longitude;
        final double freeFlow;
        final Model model = new Model();

        Sensor(int i, SplittableRandom random) {
            id = String.format("METR_LA_%05d", i).getBytes(StandardCharsets.US_ASCII);
            latitude = random.nextDouble(33.75, 34.45);
            longitude = random.nextDouble(-118.9, -117.1);
            freeFlow = random.nextDouble(55, 70);
        }
    }

    /** What any correct processor must find. */
    static final class Truth {
        long accepted;
        long duplicates;
        long invalid;
        long late;
        long nullSpeed;
        /** Of a processor that publishes a window once and turns late readings down. */
        final Closed once = new Closed();
        /** Of one that publishes a window again for each late reading: the last revision of each. */
        final Closed revised = new Closed();
    }

    /** The closed windows, the readings in them, and the sum of their mean speeds. */
    static final class Closed {
        long windows;
        long windowed;
        double speedSum;

        void add(Window w) {
            windows++;
            windowed += w.readings;
            speedSum += w.speeds == 0 ? 0 : w.speedSum / w.speeds;
        }

        String json(String prefix) {
            return String.format("\"%swindows\":%d,\"%swindowed\":%d,\"%sspeed_sum\":%.6f", prefix, windows, prefix,
                windowed, prefix, speedSum);
        }
    }

    private static final class Window {
        long readings;
        long speeds;
        double speedSum;
        boolean closed;

        void add(Wire.Reading r) {
            readings++;
            if (!Double.isNaN(r.speed)) {
                speeds++;
                speedSum += r.speed;
            }
        }
    }

    /** One sensor's watermark and windows, the plain way: the truth must not share the job's cleverness. */
    private static final class Model {
        long watermark = Long.MIN_VALUE;
        final TreeMap<Long, Window> all = new TreeMap<>();
        /** Where the windows begin that are not closed yet. */
        long open = Long.MIN_VALUE;

        void take(Wire.Reading r, Truth truth) {
            long start = Rules.windowStart(r.timestamp);
            boolean late = Rules.closed(start, watermark);
            truth.late += late ? 1 : 0;
            truth.accepted += late ? 0 : 1;
            all.computeIfAbsent(start, k -> new Window()).add(r);
            watermark = Math.max(watermark, r.timestamp);
            for (var e : all.tailMap(open).entrySet()) {
                if (!Rules.closed(e.getKey(), watermark)) {
                    break;
                }
                if (!late) {
                    truth.once.add(e.getValue());
                }
                open = e.getKey() + 1;
            }
        }

        /** Adds the windows as they are in the end, late readings included. */
        void finish(Truth truth) {
            all.headMap(open).values().forEach(truth.revised::add);
        }
    }

    private Load(Args args) {
        count = args.get("n", 3_000_000);
        rate = args.get("rate", 0);
        random = new SplittableRandom(args.get("seed", 20120301));
        // At a rate, enough sensors that each keeps its 30 s cadence, unless told otherwise.
        int n = (int) args.get("sensors", rate > 0 ? rate * CADENCE / Rules.SECOND : 2000);
        sensors = new Sensor[n];
        for (int i = 0; i < n; i++) {
            sensors[i] = new Sensor(i, random);
        }
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", Args.brokers());
        config.put("acks", "all");
        config.put("linger.ms", rate > 0 ? 1 : 50);
        config.put("batch.size", 256 * 1024);
        config.put("buffer.memory", 128L * 1024 * 1024);
        config.put("compression.type", args.get("compression", "none"));
        producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    public static void main(String[] argv) throws Exception {
        Args args = new Args(argv, "n", "sensors", "seed", "base", "rate", "compression");
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", Args.brokers()))) {
            Topics.create(admin);
        }
        new Load(args).run(args);
    }

    private void run(Args args) throws Exception {
        long span = count / sensors.length * CADENCE;
        long base = rate > 0 ? System.currentTimeMillis() : args.get("base", System.currentTimeMillis() - span);
        long began = System.nanoTime();
        for (long i = 0; sent < count; i++) {
            long due = rate > 0 ? base + i * 1000 / rate : base + i * CADENCE / sensors.length;
            while (sent < count && !held.isEmpty() && held.peek().due <= due) {
                Held h = held.poll();
                send(h.sensor, h.reading, Math.max(h.due, h.reading.timestamp), h.copy);
            }
            if (rate > 0) {
                pause(due);
            }
            if (sent < count) {
                next(sensors[(int) (i % sensors.length)], due);
            }
        }
        producer.close(); // waits for every acknowledgement
        if (failure.get() != null) {
            throw failure.get();
        }
        double seconds = (System.nanoTime() - began) / 1e9;
        for (Sensor s : sensors) {
            s.model.finish(truth);
        }
        System.out.printf("{\"n\":%d,\"sensors\":%d,\"base\":%d,\"last\":%d,\"accepted\":%d,\"duplicates\":%d,"
            + "\"invalid\":%d,\"late\":%d,\"null_speed\":%d,%s,%s,\"seconds\":%.2f,\"per_s\":%.0f}%n",
            sent, sensors.length, base, lastRecordTimestamp, truth.accepted, truth.duplicates, truth.invalid,
            truth.late, truth.nullSpeed, truth.once.json(""), truth.revised.json("revised_"), seconds, sent / seconds);
    }

    private static void pause(long untilMillis) {
        long left;
        while ((left = untilMillis - System.currentTimeMillis()) > 0) {
            LockSupport.parkNanos(left * 1_000_000);
        }
    }

    private void next(Sensor sensor, long timestamp) {
        Wire.Reading r = reading(sensor, timestamp);
        int fate = random.nextInt(1000);
        boolean ordered = rate > 0;
        if (fate < 10) {
            held.add(new Held(timestamp + 1000 + random.nextInt(5000), sent, sensor, r, true));
        } else if (fate < 15) {
            r.speed = 150;
        } else if (fate < 20) {
            r.speed = Double.NaN;
        } else if (fate < 30 && !ordered) {
            held.add(new Held(timestamp + 30_000 + random.nextInt(30_000), sent, sensor, r, false));
            return;
        } else if (fate < 32 && !ordered) {
            held.add(new Held(timestamp + 600_000 + random.nextInt(600_000), sent, sensor, r, false));
            return;
        }
        send(sensor, r, ordered ? timestamp : timestamp + random.nextInt(2000), false);
    }

    private Wire.Reading reading(Sensor sensor, long timestamp) {
        Wire.Reading r = new Wire.Reading();
        // Morning and evening peaks, so that windows differ; the shape is of no consequence.
        double load = 0.5 + 0.5 * Math.sin(timestamp % (12 * Rules.HOUR) * Math.PI / (6.0 * Rules.HOUR));
        r.sensorId = sensor.id;
        r.timestamp = timestamp;
        r.speed = Math.max(0, sensor.freeFlow * (1 - 0.5 * load) + random.nextDouble(-8, 8));
        r.volume = (int) (400 + 1400 * load) + random.nextInt(200);
        r.occupancy = 3 + 20 * load + random.nextDouble(0, 2);
        r.latitude = sensor.latitude;
        r.longitude = sensor.longitude;
        return r;
    }

    private void send(Sensor sensor, Wire.Reading r, long recordTimestamp, boolean copy) {
        if (copy) {
            truth.duplicates++;
        } else if (Rules.invalid(r, recordTimestamp) != null) {
            truth.invalid++;
        } else {
            truth.nullSpeed += Double.isNaN(r.speed) ? 1 : 0;
            sensor.model.take(r, truth);
        }
        sent++;
        lastRecordTimestamp = Math.max(lastRecordTimestamp, recordTimestamp);
        byte[] value = writer.reading(r);
        producer.send(new ProducerRecord<>(Rules.RAW, null, recordTimestamp, sensor.id, value), (meta, e) -> {
            if (e != null) {
                failure.compareAndSet(null, e);
            }
        });
    }
}

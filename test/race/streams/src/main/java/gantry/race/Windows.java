package gantry.race;

import java.nio.ByteBuffer;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Folds accepted readings into 5-minute windows per sensor and emits a window once, when its sensor's watermark (the
 * highest accepted event time) passes its end plus the grace. A reading for a closed window is rejected as late.
 *
 * <p>Layout of a sensor's row: the watermark (8 bytes), then 56 bytes for each open window, oldest first: start,
 * readings, and for speed a count, mean and sum of squared deviations (Welford), for volume and occupancy a count and
 * mean.
 */
final class Windows implements Processor<byte[], Object, byte[], Object> {
    static final String NAME = "windows";
    static final String STORE = "open";

    private static final int WATERMARK = 0;
    private static final int FIRST = 8;
    private static final int SIZE = 56;
    private static final int START = 0;
    private static final int READINGS = 8;
    private static final int SPEEDS = 12;
    private static final int SPEED_MEAN = 16;
    private static final int SPEED_M2 = 24;
    private static final int VOLUMES = 32;
    private static final int VOLUME_MEAN = 36;
    private static final int OCCUPANCIES = 44;
    private static final int OCCUPANCY_MEAN = 48;

    private final Counts counts;
    private final Wire.Writer writer = new Wire.Writer();
    private ProcessorContext<byte[], Object> context;
    private KeyValueStore<byte[], byte[]> open;

    Windows(Counts counts) {
        this.counts = counts;
    }

    @Override
    public void init(ProcessorContext<byte[], Object> context) {
        this.context = context;
        this.open = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], Object> record) {
        Wire.Reading r = (Wire.Reading) record.value();
        long start = Rules.windowStart(r.timestamp);
        byte[] old = open.get(r.sensorId);
        long watermark = old == null ? Long.MIN_VALUE : ByteBuffer.wrap(old).getLong(WATERMARK);
        if (Rules.closed(start, watermark)) {
            Dedup.reject(context, record, writer.reading(r), "late");
            counts.reject("late");
            return;
        }
        ByteBuffer row = old == null ? ByteBuffer.wrap(new byte[FIRST]) : ByteBuffer.wrap(old.clone());
        row.putLong(WATERMARK, watermark);
        row = withWindow(row, start);
        fold(row, find(row, start), r);
        if (r.timestamp > watermark) {
            row = advance(record, row, r.timestamp);
        }
        open.put(r.sensorId, row.array());
    }

    /** The offset of a window in a row, or of the place where it belongs. */
    private static int find(ByteBuffer row, long start) {
        int at = FIRST;
        while (at < row.capacity() && row.getLong(at + START) < start) {
            at += SIZE;
        }
        return at;
    }

    private static ByteBuffer withWindow(ByteBuffer row, long start) {
        int at = find(row, start);
        if (at < row.capacity() && row.getLong(at + START) == start) {
            return row;
        }
        byte[] from = row.array();
        byte[] grown = new byte[from.length + SIZE];
        System.arraycopy(from, 0, grown, 0, at);
        System.arraycopy(from, at, grown, at + SIZE, from.length - at);
        return ByteBuffer.wrap(grown).putLong(at + START, start);
    }

    private static void fold(ByteBuffer row, int at, Wire.Reading r) {
        row.putInt(at + READINGS, row.getInt(at + READINGS) + 1);
        if (!Double.isNaN(r.speed)) {
            double delta = r.speed - row.getDouble(at + SPEED_MEAN);
            double mean = mean(row, at + SPEEDS, at + SPEED_MEAN, r.speed);
            row.putDouble(at + SPEED_M2, row.getDouble(at + SPEED_M2) + delta * (r.speed - mean));
        }
        if (r.volume >= 0) {
            mean(row, at + VOLUMES, at + VOLUME_MEAN, r.volume);
        }
        if (!Double.isNaN(r.occupancy)) {
            mean(row, at + OCCUPANCIES, at + OCCUPANCY_MEAN, r.occupancy);
        }
    }

    private static double mean(ByteBuffer row, int countAt, int meanAt, double value) {
        int n = row.getInt(countAt) + 1;
        double mean = row.getDouble(meanAt);
        mean += (value - mean) / n;
        row.putInt(countAt, n).putDouble(meanAt, mean);
        return mean;
    }

    /** Moves the watermark and emits the windows that it closes, which are the first ones of the row. */
    private ByteBuffer advance(Record<byte[], Object> record, ByteBuffer row, long watermark) {
        int at = FIRST;
        while (at < row.capacity() && Rules.closed(row.getLong(at + START), watermark)) {
            emit(record, row, at);
            at += SIZE;
        }
        row.putLong(WATERMARK, watermark);
        if (at == FIRST) {
            return row;
        }
        byte[] from = row.array();
        byte[] rest = new byte[from.length - (at - FIRST)];
        System.arraycopy(from, 0, rest, 0, FIRST);
        System.arraycopy(from, at, rest, FIRST, from.length - at);
        return ByteBuffer.wrap(rest);
    }

    private void emit(Record<byte[], Object> record, ByteBuffer row, int at) {
        long start = row.getLong(at + START);
        int speeds = row.getInt(at + SPEEDS);
        byte[] value = writer.window(record.key(), start, start + Rules.WINDOW,
            orNull(speeds, row.getDouble(at + SPEED_MEAN)),
            orNull(speeds, row.getDouble(at + SPEED_M2) / speeds),
            orNull(row.getInt(at + VOLUMES), row.getDouble(at + VOLUME_MEAN)),
            orNull(row.getInt(at + OCCUPANCIES), row.getDouble(at + OCCUPANCY_MEAN)),
            row.getInt(at + READINGS));
        context.forward(record.withValue(value), StreamsJob.WINDOWS_SINK);
        counts.window();
    }

    private static double orNull(int n, double value) {
        return n == 0 ? Double.NaN : value;
    }
}

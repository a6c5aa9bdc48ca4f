package gantry.race;

import java.nio.ByteBuffer;
import java.util.Arrays;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Decodes, validates and removes duplicates. Accepted readings go on to the window stage and, with their original
 * bytes, to traffic-events; the rest goes to traffic-rejects with a reason.
 *
 * <p>The store holds, per sensor and 5-minute bucket, the timestamps seen in it (4-byte offsets from the bucket's
 * start). A row per reading would be the obvious layout; this one lets the record cache fold a bucket's ten writes into
 * one, and the window store drops old buckets by the segment.
 */
final class Dedup implements Processor<byte[], byte[], byte[], Object> {
    static final String NAME = "dedup";
    static final String STORE = "seen";
    /** Valid readings are at most an hour old; the margin is for those that are ahead of the record timestamp. */
    static final long RETENTION = Rules.DEDUP + 2 * Rules.AHEAD_MAX;

    private final Counts counts;
    private final Wire.Reader reader = new Wire.Reader();
    private final Wire.Reading reading = new Wire.Reading();
    private ProcessorContext<byte[], Object> context;
    private WindowStore<byte[], byte[]> seen;

    Dedup(Counts counts) {
        this.counts = counts;
    }

    @Override
    public void init(ProcessorContext<byte[], Object> context) {
        this.context = context;
        this.seen = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        counts.begin();
        String reason = judge(record);
        if (reason == null) {
            context.forward(record.withKey(reading.sensorId), StreamsJob.EVENTS_SINK);
            context.forward(record.<Object>withValue(reading), Windows.NAME);
        } else {
            reject(context, record, record.value(), reason);
            counts.reject(reason);
        }
        counts.end();
    }

    static void reject(ProcessorContext<byte[], Object> context, Record<byte[], ?> record, byte[] value,
        String reason) {
        Headers headers = new RecordHeaders(record.headers());
        headers.add(Rules.REASON, reason.getBytes(java.nio.charset.StandardCharsets.US_ASCII));
        context.forward(new Record<>(record.key(), value, record.timestamp(), headers), StreamsJob.REJECTS_SINK);
    }

    private String judge(Record<byte[], byte[]> record) {
        try {
            reader.reading(record.value(), reading);
        } catch (Wire.Malformed e) {
            return "invalid_bytes";
        }
        String invalid = Rules.invalid(reading, record.timestamp());
        if (invalid != null) {
            return invalid;
        }
        return firstSight(reading.sensorId, reading.timestamp) ? null : "duplicate";
    }

    private boolean firstSight(byte[] sensorId, long timestamp) {
        long bucket = Rules.windowStart(timestamp);
        int offset = (int) (timestamp - bucket);
        byte[] old = seen.fetch(sensorId, bucket);
        int length = old == null ? 0 : old.length;
        if (length > 0) {
            ByteBuffer b = ByteBuffer.wrap(old);
            for (int i = length - 4; i >= 0; i -= 4) { // newest first: a duplicate follows its original closely
                if (b.getInt(i) == offset) {
                    return false;
                }
            }
        }
        byte[] grown = old == null ? new byte[4] : Arrays.copyOf(old, length + 4);
        ByteBuffer.wrap(grown).putInt(length, offset);
        seen.put(sensorId, grown, bucket);
        return true;
    }
}

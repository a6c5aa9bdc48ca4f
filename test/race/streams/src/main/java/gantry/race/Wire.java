package gantry.race;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * The Confluent wire format (byte 0, 4-byte schema id, Avro body), written and read by hand: for two fixed schemas this
 * is several times faster than Avro's generic or specific classes, and it brings no dependency.
 */
final class Wire {
    static final int READING_SCHEMA_ID = 1;
    static final int WINDOW_SCHEMA_ID = 2;

    static final String READING_SCHEMA = """
        {"type":"record","name":"TrafficReading","fields":[
          {"name":"sensor_id","type":"string"},
          {"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},
          {"name":"speed_mph","type":["null","double"],"default":null},
          {"name":"volume_vph","type":["null","int"],"default":null},
          {"name":"occupancy_percent","type":["null","double"],"default":null},
          {"name":"coordinates","type":["null",{"type":"record","name":"Coordinates","fields":[
            {"name":"latitude","type":"double"},{"name":"longitude","type":"double"}]}],"default":null}]}""";

    static final String WINDOW_SCHEMA = """
        {"type":"record","name":"WindowAggregate","fields":[
          {"name":"sensor_id","type":"string"},
          {"name":"window_start","type":{"type":"long","logicalType":"timestamp-millis"}},
          {"name":"window_end","type":{"type":"long","logicalType":"timestamp-millis"}},
          {"name":"avg_speed","type":["null","double"]},
          {"name":"speed_variance","type":["null","double"]},
          {"name":"avg_volume","type":["null","double"]},
          {"name":"avg_occupancy","type":["null","double"]},
          {"name":"message_count","type":"int"}]}""";

    private static final int HEADER = 5;

    private Wire() {}

    /** A reading as decoded. Null fields are NaN, or -1 for the volume; a missing sensor id has length 0. */
    static final class Reading {
        byte[] sensorId = new byte[0];
        long timestamp;
        double speed;
        int volume;
        double occupancy;
        double latitude;
        double longitude;
    }

    /** Bytes that are not a whole reading. */
    static final class Malformed extends Exception {
        private static final long serialVersionUID = 1;

        Malformed(String why) {
            super(why, null, false, false);
        }
    }

    /** Appends Avro primitives to a buffer that is used again and again. */
    static final class Writer {
        private final ByteBuffer buf = ByteBuffer.allocate(512).order(ByteOrder.LITTLE_ENDIAN);

        byte[] reading(Reading r) {
            begin(READING_SCHEMA_ID);
            bytes(r.sensorId);
            zigzag(r.timestamp);
            nullable(r.speed);
            if (r.volume < 0) {
                buf.put((byte) 0);
            } else {
                buf.put((byte) 2);
                zigzag(r.volume);
            }
            nullable(r.occupancy);
            if (Double.isNaN(r.latitude)) {
                buf.put((byte) 0);
            } else {
                buf.put((byte) 2).putDouble(r.latitude).putDouble(r.longitude);
            }
            return Arrays.copyOf(buf.array(), buf.position());
        }

        byte[] window(byte[] sensorId, long start, long end, double speed, double variance, double volume,
            double occupancy, int count) {
            begin(WINDOW_SCHEMA_ID);
            bytes(sensorId);
            zigzag(start);
            zigzag(end);
            nullable(speed);
            nullable(variance);
            nullable(volume);
            nullable(occupancy);
            zigzag(count);
            return Arrays.copyOf(buf.array(), buf.position());
        }

        private void begin(int schemaId) {
            buf.clear();
            buf.put((byte) 0).putInt(Integer.reverseBytes(schemaId)); // the id is big-endian, Avro is not
        }

        private void bytes(byte[] b) {
            zigzag(b.length);
            buf.put(b);
        }

        private void nullable(double d) {
            if (Double.isNaN(d)) {
                buf.put((byte) 0);
            } else {
                buf.put((byte) 2).putDouble(d);
            }
        }

        private void zigzag(long v) {
            long z = (v << 1) ^ (v >> 63);
            while ((z & ~0x7FL) != 0) {
                buf.put((byte) ((z & 0x7F) | 0x80));
                z >>>= 7;
            }
            buf.put((byte) z);
        }
    }

    /** Decodes into an object that the caller owns, one reader to a thread. */
    static final class Reader {
        private byte[] b = new byte[0];
        private int pos;
        private ByteBuffer doubles = ByteBuffer.wrap(b);

        void reading(byte[] value, Reading into) throws Malformed {
            begin(value, READING_SCHEMA_ID, HEADER);
            into.sensorId = bytes();
            into.timestamp = zigzag();
            into.speed = nullable();
            into.volume = branch() ? (int) zigzag() : -1;
            into.occupancy = nullable();
            if (branch()) {
                into.latitude = float64();
                into.longitude = float64();
            } else {
                into.latitude = Double.NaN;
                into.longitude = Double.NaN;
            }
            if (pos != b.length) {
                throw new Malformed("bytes left over");
            }
        }

        /** Reads only the leading sensor id and timestamp; {@code skip} bytes lie between the header and the id. */
        long timestamp(byte[] value, int skip) throws Malformed {
            begin(value, -1, HEADER + skip);
            bytes();
            return zigzag();
        }

        /** A window's average speed (0 if null) and reading count. */
        record WindowSummary(double speed, int count) {}

        WindowSummary window(byte[] value) throws Malformed {
            begin(value, WINDOW_SCHEMA_ID, HEADER);
            bytes();
            zigzag();
            zigzag();
            double speed = nullable();
            nullable();
            nullable();
            nullable();
            return new WindowSummary(Double.isNaN(speed) ? 0 : speed, (int) zigzag());
        }

        private void begin(byte[] value, int schemaId, int start) throws Malformed {
            b = value;
            doubles = ByteBuffer.wrap(value).order(ByteOrder.LITTLE_ENDIAN);
            pos = start;
            if (value.length < start || value[0] != 0) {
                throw new Malformed("no wire header");
            }
            if (schemaId >= 0 && Integer.reverseBytes(doubles.getInt(1)) != schemaId) {
                throw new Malformed("unknown schema id");
            }
        }

        private byte[] bytes() throws Malformed {
            long n = zigzag();
            if (n < 0 || n > b.length - pos) {
                throw new Malformed("bad length");
            }
            pos += (int) n;
            return Arrays.copyOfRange(b, pos - (int) n, pos);
        }

        private boolean branch() throws Malformed {
            long i = zigzag();
            if (i != 0 && i != 1) {
                throw new Malformed("bad union branch");
            }
            return i == 1;
        }

        private double nullable() throws Malformed {
            return branch() ? float64() : Double.NaN;
        }

        private double float64() throws Malformed {
            if (b.length - pos < 8) {
                throw new Malformed("cut short");
            }
            pos += 8;
            return doubles.getDouble(pos - 8);
        }

        private long zigzag() throws Malformed {
            long z = 0;
            for (int shift = 0; shift < 64; shift += 7) {
                if (pos == b.length) {
                    throw new Malformed("cut short");
                }
                byte c = b[pos++];
                z |= (long) (c & 0x7F) << shift;
                if (c >= 0) {
                    return (z >>> 1) ^ -(z & 1);
                }
            }
            throw new Malformed("varint too long");
        }
    }
}

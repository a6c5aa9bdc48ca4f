package gantry.race;

/** The rules that the generator's truth and the job share: validity, windows, lateness. */
final class Rules {
    static final long SECOND = 1000;
    static final long MINUTE = 60 * SECOND;
    static final long HOUR = 60 * MINUTE;

    static final long WINDOW = 5 * MINUTE;
    static final long GRACE = MINUTE;
    static final long AGE_MAX = HOUR;
    static final long AHEAD_MAX = 5 * MINUTE;
    /** A (sensor_id, timestamp) is remembered for this much event time. */
    static final long DEDUP = HOUR;

    static final int PARTITIONS = 5;
    static final String RAW = "traffic-raw";
    static final String EVENTS = "traffic-events";
    static final String WINDOWS = "traffic-windows";
    static final String REJECTS = "traffic-rejects";
    /** The header of a reject that holds its reason. */
    static final String REASON = "reason";

    private Rules() {}

    /** Why a reading is invalid, or null. Age is judged against the record's timestamp, so a replay judges alike. */
    static String invalid(Wire.Reading r, long recordTimestamp) {
        if (r.sensorId.length == 0) {
            return "invalid_sensor";
        }
        if (r.timestamp <= 0 || recordTimestamp - r.timestamp > AGE_MAX) {
            return "invalid_old";
        }
        if (r.timestamp - recordTimestamp > AHEAD_MAX) {
            return "invalid_future";
        }
        if (r.speed < 0 || r.speed > 120) { // false for NaN, which is null: a missing speed is allowed
            return "invalid_speed";
        }
        boolean inside = r.latitude >= 33.7 && r.latitude <= 34.5 && r.longitude >= -119 && r.longitude <= -117;
        if (!inside && !Double.isNaN(r.latitude)) {
            return "invalid_coordinates";
        }
        return null;
    }

    static long windowStart(long t) {
        return Math.floorDiv(t, WINDOW) * WINDOW;
    }

    /** Whether a window is closed once its sensor's watermark is this far. */
    static boolean closed(long windowStart, long watermark) {
        return watermark >= windowStart + WINDOW + GRACE;
    }
}

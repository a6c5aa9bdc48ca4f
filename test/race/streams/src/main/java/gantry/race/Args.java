package gantry.race;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Command lines of the form {@code --name value}; a name may be given more than once. An unknown name is an error. */
final class Args {
    private final Map<String, List<String>> values = new HashMap<>();

    Args(String[] args, String... known) {
        List<String> names = List.of(known);
        for (int i = 0; i < args.length; i += 2) {
            String name = args[i].startsWith("--") ? args[i].substring(2) : "";
            if (!names.contains(name) || i + 1 == args.length) {
                System.err.println("cannot use '" + args[i] + "'; flags, each with a value: --"
                    + String.join(" --", names));
                System.exit(2);
            }
            values.computeIfAbsent(name, k -> new ArrayList<>()).add(args[i + 1]);
        }
    }

    static String brokers() {
        return System.getenv().getOrDefault("BROKERS", "127.0.0.1:9092");
    }

    List<String> all(String name) {
        return values.getOrDefault(name, List.of());
    }

    String get(String name, String otherwise) {
        List<String> v = all(name);
        return v.isEmpty() ? otherwise : v.get(v.size() - 1);
    }

    long get(String name, long otherwise) {
        return Long.parseLong(get(name, Long.toString(otherwise)));
    }

    boolean on(String name, boolean otherwise) {
        return get(name, otherwise ? "on" : "off").equals("on");
    }
}

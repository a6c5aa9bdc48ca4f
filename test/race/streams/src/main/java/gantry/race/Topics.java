package gantry.race;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

/** Creates the four topics of the job, where missing. */
final class Topics {
    private Topics() {}

    static void create(Admin admin) throws Exception {
        Set<String> there = admin.listTopics().names().get();
        List<NewTopic> missing = List.of(Rules.RAW, Rules.EVENTS, Rules.WINDOWS, Rules.REJECTS).stream()
            .filter(t -> !there.contains(t))
            // The broker deletes by record timestamp: without this, a replay of old readings vanishes while it is read.
            .map(t -> new NewTopic(t, Rules.PARTITIONS, (short) 1).configs(Map.of("retention.ms", "-1")))
            .toList();
        admin.createTopics(missing).all().get();
    }
}

// Package processors runs Gantry's goka groups: topics and groups, the settings on which nothing may be lost, the
// consumer group, and the supervision of a processor. What a record means is decided in the packages below: validate
// (rules and flags), dedup (accept, number, enrich), window (fold and publish).
//
// Delivery: every record of an input is handled at least once, in the order of its partition, and its offset is
// committed only behind everything that it caused (package store). Handlers make that exactly once by dropping what
// their state has applied. A processor that fails is built anew from its committed offset and its table; while it is
// down its partitions are not ready, and nothing else is lost but time.
//
// Outages: whatever keeps a stage from its work is a Condition, with a stable type, and is tried again for ever; only
// what would make results wrong ends the process (Final): state of other topics, a topic that was created again or has
// other partitions; and a second process under the same instance name ends the first, since the two would throw each
// other out for ever. Clients do not tell of changed topics in time, since they keep to the topic that they began with or
// know it by its name alone, so the Monitor watches the topics.
//
// Holes: a fetch of what retention has deleted goes on silently where the log begins. The session knows the next offset
// that it wants, so a log that begins behind it is a hole. The note of it travels as metadata of the very commit that
// passes it: a crash before that commit finds the hole again, and after it the note is there. Were the two apart, a crash
// between them would leave an offset behind records that nobody knows to be missing.
//
// With un-keyed topics the first group routes traffic-raw to its loop: partitions in step by record time (Alignment),
// metadata ahead of any backlog.
//
// A member is static: what comes back within its session moves nothing. Partitions move when a session is over, when a
// process leaves (ErrLeaving) or is removed (RemoveMember), and when one joins. Whoever gets them has followed their
// tables (Stage.Standby), and a process that joins has read them ahead; a partition is followed by nobody between the
// moment that it is assigned and goka's opening of its table, or LevelDB would refuse the second opening.
//
// It does not retry single records, and it does not skip any: a record that cannot be handled at all stops the
// processor, so handlers turn bad input into rejects.
package processors

// Package processors runs Gantry's goka groups: topics and groups, the settings on which nothing may be lost, the
// consumer group, and the supervision of a processor. What a record means is decided in the packages below: validate
// (rules and flags), dedup (accept, number, enrich), window (fold and publish).
//
// Delivery: every record of an input is handled at least once, in the order of its partition, and its offset is
// committed only behind everything that it caused (package store). Handlers make that exactly once by dropping what
// their state has applied. A processor that fails is built anew from its committed offset and its table; while it is
// down its partitions are not ready, and nothing else is lost but time.
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

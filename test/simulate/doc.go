// Package simulate runs the pipeline in a simulated world, from a seed, and looks for schedules that break a guarantee.
//
// What runs is the product: the handlers of dedup and window with their states, the engine with its rounds and tables
// on LevelDB, the archive's partitions and compactions with their Parquet files; and the ledger judges the end. What is
// simulated is the rest of the world: the brokers (broker), the networks of producers (pipe), machines and their disks
// (process, disk), group membership, the archive's file system (writer, deferring), the clock, and who does something
// next (Run).
//
// # What can happen
//
// Three processes share two partitions. Between any two steps a process may crash, with its disk kept, torn, older than
// it was, or lost; or pause, lose what it owned, and go on as a zombie with all that it had in flight; or lose a
// partition and learn of it later. Records arrive in order within a producer and partition, and in any order between
// them; late, or never, when their producer is gone; they fail for good, stored or not, and those behind them do not;
// acknowledgements come late, or never. Changelogs are compacted. Hours of the archive are compacted and sealed, by
// several at once. Every call to the archive's file system may fail with its effect or without, have its effect after
// the caller was told of an error, hang, or be the last of its process. Each seed draws which of these it has and how
// often (faultKind), since what takes ten crashes in a row never comes where everything else happens too.
//
// Then all that was hurt heals, the rest of the input arrives, and everything is processed.
//
// # What must hold
//
// At each record and commit (observer): what is written twice has equal content; a raw record has one outcome; a window
// stands behind every reading that it counts; no offset is committed whose outcome is not stored and whose state is not
// in the changelog; commits do not go back. Where a changelog has settled, the last record of each key is the newest.
//
// In the end (world.check): readings, their numbers, rejects and the last revision of each window are those that a
// plain model computes from the raw records; the ledger has no exception; the archive has each reading and each
// revision once, and all of them, before its hours are sealed and after; states are equal in memory, in the changelog,
// from the disk and from an empty disk, and equal to a fold of the topics; everything is committed.
//
// # Why a seed is a schedule
//
// One goroutine does everything, one step at a time, and one generator draws everything, also what the product would
// draw itself. The engine is a store.Stepped, which has no goroutine that sends or closes rounds: a step of the
// schedule does. testing/synctest would keep those goroutines and make their time a fake one, but not choose which of
// two that are ready runs first, and it is that order which a simulation is after. Archivers and compactors keep their
// control flow across calls to the file system, so each is a coroutine (iter.Pull) that stops before every call.
// LevelDB does have goroutines of its own; nothing but its files depends on them, and those are looked at when it is
// closed. Maps are walked in order wherever something is drawn or told. TestSameSeedSameStory holds the stories of two
// runs against each other.
//
// # What it does not do
//
// goka's own loops, the Kafka client and the group protocol are not here: the suites on the embedded broker and on real
// servers have those. Nothing deletes records by retention. A broker loses nothing that it has stored.
//
// It shows one limit of the product rather than hiding it: an owner notices that a zombie has overwritten newer values
// in its changelog when it writes itself, or recovers. In a partition where nothing is ever written again, compaction
// could keep the older value alone. So a changelog is compacted here only where its owner has seen all of it, and in
// the end each partition gets a last record.
package simulate

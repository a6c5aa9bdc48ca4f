// Package store keeps one order for everything that a goka group writes: outputs, then state, then offset.
//
// An Engine is a group's producer, storage and commit in one, behind goka's own interfaces. It works in rounds. While a
// round of a partition is open, callbacks send their outputs at once and change the states of keys in memory. When it
// is closed, the newest value of each key written in it is encoded, once. Then:
//
//	outputs of the round acknowledged
//	  → its table records are sent to the changelog
//	    → acknowledged: values and changelog offset go to LevelDB in one atomic batch
//	      → every earlier round complete: the input offset is marked
//
// # Guarantees, and what would break them
//
// Nothing is lost. An input offset is marked only when its round and every earlier one is complete, so a restart reads
// every record again whose outputs or state might be missing. If rounds were marked as they complete, a round without
// table records could overtake one whose outputs are still in flight; a crash then would skip those inputs for good.
//
// Nothing counts twice. Each value carries the input offset up to which it has applied, and a value is in the changelog
// only if every output issued before it is in the log (the barrier). So a replayed record is either at or below
// applied, and its outputs are out: it is dropped; or it is above, and it meets exactly the state it met the first
// time: it issues the same outputs. If the value could be written before its outputs, a crash in between would restore
// a state that believes to have sent what it has not, and the replay would drop the record: its output is lost.
//
// No gap hides behind a failed record. No Kafka client is gapless by itself: behind a record that fails for good, later
// ones may still be delivered. The engine stops at the first error: every later send is refused, no round is released
// any more, and the processor ends and is built anew. If it went on, a state could reach the changelog although an
// output before it failed.
//
// A paused owner does no harm. An instance that was paused past its session timeout and then flushes writes values that
// are old prefixes. Recovery, standby and views keep the value with the higher applied; the stored changelog offset
// advances only contiguously, so the owner notices that somebody else wrote (ErrOvertaken) and recovers from the log;
// keys whose last changelog record turns out to be an old value are written again, and until they are, the stored
// offset stays before those records, so that a crash in between does not forget them. If the offset jumped over the
// stranger's records, the owner's own disk would never see them; if the last record won, applied contributions would
// vanish, although every output and offset looks complete.
//
// Recovery ends, also while somebody else writes. It is over when it has read what the changelog held when the table was
// opened. A record of a paused instance that comes later lies behind the offset that is stored, so it is met in one of two
// ways: by this process's first own write, which is then not contiguous, or by the next recovery, which begins with it.
// Were the end asked for when recovery is over, an instance that writes once in the time of a recovery would make every
// one fail; were it not proved at all, a consumer that goka lost half-way would pass for a finished one, and the lane
// would compute from a state of which a part is missing.
//
// A takeover loses nothing and need not read the changelog. A Standby follows the changelog of a partition that another
// process owns, and only reads: it has no lane, and the end of recovery, with which one starts and overwritten keys are
// written again, is declared by goka alone, for a partition that was assigned. At any moment it is what a recovery that
// was broken off is: a prefix of the changelog, merged by applied, its stored offset held before records that it passed
// over for their old value. So the owner that opens its folder recovers from there as after a crash: level with the log
// it reads nothing, behind it the tail, and what a paused predecessor wrote last it reads again and mends. If a standby
// took the last value instead, or stored an offset behind a record that is still to be mended, a takeover between the
// stranger's write and the owner's repair would make the old value the result.
//
// # What it does not do
//
// It does not make outputs unique: a crash repeats a run of outputs, with equal content, and readers drop repeats by
// identity. It does not fence a paused instance; it makes its writes harmless. It does not survive a broker that loses
// acknowledged records.
package store

// Package dedup decides what becomes of each message of traffic-raw: it judges a reading by the rules of validate and
// by the sensor's history, enriches and numbers the one that it accepts, and gives every other a reason.
//
// Its promise: a decision is a function of the sensor's state and the message alone. No clock, no other topic and no
// commit takes part, so that a run of messages that is replayed after a crash from the state before it gets the same
// decisions and leaves the same state, byte for byte. What is forgotten depends on the watermark, the sensor's highest
// accepted event time, and on nothing else.
//
// Late input: a reading is accepted, in any order, as long as its window is remembered; after that it is late. Of equal
// readings one is accepted, the others are duplicates; of different ones with the same sensor and time the first
// stands, the others are conflicts. Bad input never stops anything: it is a reject.
//
// A state is bounded, whatever a sensor sends. One that sends more readings than are remembered has its oldest
// forgotten, and what is as old as these is late from then on; nothing is accepted twice.
//
// What the package does not do: it tells an equal copy from a conflict by 20 bits of a hash, so that one in a million
// conflicts is called a duplicate. Both are rejects, and which readings are accepted does not depend on it.
package dedup

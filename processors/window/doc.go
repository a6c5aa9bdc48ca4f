// Package window folds the accepted readings of a sensor into event-time windows and decides when a window is
// published. It is the pure part: a State is a value, its transitions are ApplyReading and ApplySilence, and both are
// functions of the state, the event and the options alone. It knows no Kafka, no clock and no storage.
//
// Windows are [start, end), all of one length, aligned to the epoch in UTC. The watermark of a sensor is the highest
// event time among its readings. A window is published when the watermark, or the time of a silence event, reaches
// its end + grace; a later reading of it publishes the next revision. It is remembered while watermark − start is at
// most the retention.
//
// Guarantee: the same events in the same order give the same state and the same publishes, bit by bit, on every
// machine, and whether or not the state was encoded in between. A reading is counted once: the sequence of a sensor
// must go up by one, what is not above the last is a repeat, what is further ahead waits for the gap to be filled.
// The highest revision of a window depends on the readings alone; silences change when it is published, never what it
// says.
//
// Late input: the stage before rejects a reading whose window is no longer remembered, by the same rule. One that
// comes nevertheless, because retention was shortened meanwhile, moves the sequence on and is counted in no window
// (Late): a window that is forgotten cannot be told from one that never was, and a second first revision of it would
// contradict what is already published. Bad input is not expected: values were judged before.
//
// Times are epoch milliseconds, within ±2⁶¹.
package window

// Package views holds what a process knows of the whole installation: goka views of the tables of the dedup and the
// window group, a directory of sensors made from them, the silence detector and the archiver. HTTP is served from the
// directory (package api), so that every process answers for every sensor.
//
// Views are read-only copies of the changelogs, held in memory and read anew at each start. They merge as recovery does:
// a value that has applied less than the one held changes nothing, so a paused instance that wakes up cannot turn the
// clock back. A view lags behind its group by a round and a fetch; it answers with what was true a moment ago, never
// with what was never true.
//
// Silence is decided only from what has been processed: the detector takes the end offsets of traffic-raw at a time T,
// waits until dedup, window and the view have passed everything that followed from them, and judges as of T. A backlog,
// a stopped processor or a paused broker delays silences; it cannot make a sensor look silent.
package views

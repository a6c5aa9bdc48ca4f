// Package validate holds the rules that a reading must pass before it counts, the reasons for which one is rejected,
// and the data-quality flags of one that counts.
//
// Everything here is a pure function of a reading, what is known of its sensor, the arrival time of its record and the
// options: no clock, no state, no Kafka. What needs a sensor's history, the rules late, duplicate and conflict and the
// flag stuck, is decided in processors/dedup; the reasons are named here, so that their order stands in one place.
//
// All rules are checked, not only up to the first that fails: the first names the reject, and all of them are in its
// detail. Values are never corrected: a reading is taken as it is or not at all.
package validate

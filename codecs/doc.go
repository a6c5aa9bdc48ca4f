// Package codecs holds Gantry's domain types and every encoding of them: the Avro schemas of traffic-raw and
// traffic-events in the Confluent wire format, the JSON form of traffic-raw, sensor metadata, and header names.
//
// Decoders are total. Whatever bytes they are given, they return a value or an error that says what is wrong; they
// never panic, never allocate more than a small multiple of their input, and never keep state between calls. A message
// that cannot be decoded is an answer (a reject with the reason undecodable), not a failure of the processor.
//
// To spare the hot path allocations, strings in decoded values alias the bytes they were decoded from. Those bytes must
// not be changed while the value is in use; a holder that outlives them clones the strings.
//
// The package knows no topic, no consumer group and no verdict: what a reading is worth is decided in processors.
package codecs

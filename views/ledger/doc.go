// Package ledger proves from the topics that every reading is accounted for exactly once. It is what `gantry verify`
// runs.
//
// Each record of traffic-raw in the proved range must have one outcome: a reading on traffic-events, a reject on
// traffic-rejects, or none where it is the metadata of a sensor. The outcome must follow from the record, sequences must
// have no gap, and each window must be the one that the readings before it ask for. Whatever does not fit is an
// Exception that names its topic, partition and offset.
//
// The ledger shares no code with what it proves. Windows are computed again from the readings themselves, with two-pass
// formulas, and flags from their definitions, so that an error in the processors does not hide behind itself.
//
// What it cannot tell is not called lost. Outcomes that retention may have deleted are counted as expired, records that
// the processors had not committed when the ledger began as pending, and windows that began before the first retained
// reading of their sensor as unproved. It does not judge a verdict: whether a reject's reason holds is the business of
// the rules and their tests.
//
// Ledger is the pure core: it is given records and knows no broker. Verify reads the topics into one.
package ledger

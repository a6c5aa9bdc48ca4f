package store

// omit takes a mechanism out, so that a test can show that it is needed. Only tests set it.
type omit uint

const (
	omitBarrier    omit = 1 << iota // state does not wait for outputs
	omitOrder                       // offsets are marked as rounds complete
	omitStop                        // the engine goes on after an error
	omitMerge                       // recovery takes the last value instead of the one that applied more
	omitContiguous                  // the stored offset jumps over records of others
	omitRewrite                     // keys whose last record is an old value are not written again
	omitHold                        // the stored offset passes over keys that are still to be written again
)

func (o omit) has(m omit) bool { return o&m != 0 }

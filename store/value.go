package store

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// State is what a group remembers of a key. It is changed in place, under the lock of its partition's Lane.
type State interface {
	// AppendTo appends the encoded state. Equal states append equal bytes.
	AppendTo(b []byte) []byte
}

// notApplied is the applied offset of a state to which no record has been applied.
const notApplied = -1

const valueVersion = 1

// errValue is returned for a table value that this version did not write.
var errValue = errors.New("not a table value of this version")

// appendValue frames an encoded state: version, then the offset up to which it has applied (as applied + 1, a varint),
// so that the merge of recovery and views need not know the state.
func appendValue(b []byte, applied int64, s State) []byte {
	b = append(b, valueVersion)
	b = binary.AppendUvarint(b, uint64(applied+1))
	return s.AppendTo(b)
}

// SplitValue separates the applied offset of a table value from the encoded state, which aliases value. Any reader of
// a group's table needs it.
func SplitValue(value []byte) (applied int64, state []byte, err error) {
	if len(value) < 2 || value[0] != valueVersion {
		return 0, nil, fmt.Errorf("%d bytes: %w", len(value), errValue)
	}
	v, n := binary.Uvarint(value[1:])
	if n <= 0 || v > 1<<63-1 {
		return 0, nil, fmt.Errorf("applied offset: %w", errValue)
	}
	return int64(v) - 1, value[1+n:], nil
}

// newer tells whether incoming replaces stored: it has applied at least as much. Values that have applied equally much
// are equal, since a value at an offset is a function of the log.
func newer(stored, incoming []byte) (bool, error) {
	if stored == nil {
		return true, nil
	}
	in, _, err := SplitValue(incoming)
	if err != nil {
		return false, err
	}
	st, _, err := SplitValue(stored)
	if err != nil {
		return true, nil // a stored value that cannot be read is no reason to keep it
	}
	return in >= st, nil
}

package codecs

import (
	"bytes"
	"encoding/json"
)

// Null is a value that may be missing. Missing is never zero: a speed of 0 is a standing queue, a missing speed is a
// sample in which no vehicle passed or nothing was measured.
type Null[T any] struct {
	V     T
	Valid bool
}

// Some returns a value that is present.
func Some[T any](v T) Null[T] { return Null[T]{V: v, Valid: true} }

// Or returns the value, or def where it is missing.
func (n Null[T]) Or(def T) T {
	if n.Valid {
		return n.V
	}
	return def
}

// MarshalJSON writes null for a missing value.
func (n Null[T]) MarshalJSON() ([]byte, error) {
	if !n.Valid {
		return []byte("null"), nil
	}
	return json.Marshal(n.V)
}

// UnmarshalJSON reads null as missing.
func (n *Null[T]) UnmarshalJSON(b []byte) error {
	*n = Null[T]{}
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		return nil
	}
	if err := json.Unmarshal(b, &n.V); err != nil {
		return err
	}
	n.Valid = true
	return nil
}

package main

import (
	"encoding/binary"
	"fmt"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
)

// value is what a table holds of a sensor: its state, and the input offset up to which that has applied. A message that
// comes again after a crash is recognised by it.
type value[S any] struct {
	applied int64
	state   S
}

const appliedBytes = 8 // big-endian, in front

// valueCodec encodes a value for each message that changes it, as a codec of goka does.
type valueCodec[S any] struct {
	appendTo func(S, []byte) []byte
	decode   func([]byte) (S, error)
}

func (c valueCodec[S]) Encode(v any) ([]byte, error) {
	x := v.(*value[S])
	return c.appendTo(x.state, binary.BigEndian.AppendUint64(nil, uint64(x.applied))), nil
}

func (c valueCodec[S]) Decode(b []byte) (any, error) {
	if len(b) < appliedBytes {
		return nil, fmt.Errorf("a table value of %d bytes", len(b))
	}
	state, err := c.decode(b[appliedBytes:])
	return &value[S]{applied(b), state}, err
}

func applied(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }

// keepNewer recovers a table: of two values of a key it keeps the one that has applied more. A process that was paused
// beyond its session may have written an old one behind a newer.
func keepNewer(_ goka.UpdateContext, s storage.Storage, key string, v []byte) error {
	old, err := s.Get(key)
	if err != nil {
		return err
	}
	if len(old) >= appliedBytes && len(v) >= appliedBytes && applied(old) > applied(v) {
		return nil
	}
	return s.Set(key, v)
}

package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gantry/codecs"
)

// ErrNoAnswer says that the registry has not answered: nothing is known of the bytes.
var ErrNoAnswer = errors.New("the schema registry does not answer")

// schemaDecoder is the Decoder of production.
type schemaDecoder struct {
	decoder codecs.RawDecoder
	schemas codecs.SchemaSource
	wait    time.Duration
	failed  map[int32]error // ids that were waited for in vain
}

var _ Decoder = (*schemaDecoder)(nil)

// NewDecoder returns a decoder that asks for each writer schema once, and waits for the answer this long at most. It is
// not safe for concurrent use.
func NewDecoder(schemas codecs.SchemaSource, wait time.Duration) Decoder {
	return &schemaDecoder{schemas: schemas, wait: wait, failed: make(map[int32]error)}
}

// Decode implements Decoder.
func (d *schemaDecoder) Decode(ctx context.Context, data []byte, r *codecs.RawReading) error {
	for {
		err := d.decoder.Decode(data, r)
		var needed *codecs.SchemaNeededError
		if !errors.As(err, &needed) {
			return err
		}
		if err, ok := d.failed[needed.ID]; ok {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, d.wait)
		err = d.decoder.Learn(limited, needed.ID, d.schemas)
		cancel()
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
			d.failed[needed.ID] = err
			return err
		}
	}
}

package app

import (
	"context"
	"errors"
	"fmt"

	"gantry/cmd/gantry/config"
	"gantry/codecs"
	"gantry/processors"
	"gantry/views/ledger"
)

// VerifyOptions are those of a ledger over the topics of a configuration, which must be that of the pipeline that wrote
// them. Writer schemas are asked for at schemas; the ledger waits for an answer.
func VerifyOptions(c *config.Config, k processors.Kafka, schemas codecs.SchemaSource) ledger.VerifyOptions {
	o := ledger.DefaultVerifyOptions()
	o.Client = k.Options()
	l, w := &o.Ledger, c.Window
	l.RawTopic, l.EventsTopic, l.RejectsTopic, l.Keyed = c.Topics.Raw, c.Topics.Events, c.Topics.Rejects, c.Raw.Keyed
	l.Length, l.Grace, l.Retention = w.Length, w.Grace, w.Retention
	l.DefaultInterval, l.MaxAhead = w.DefaultInterval, c.Validate.MaxAhead
	o.ArchiveDue = max(o.ArchiveDue, 2*c.Archive.FlushInterval)
	l.Decoder, l.ParseSensor = &rawDecoder{schemas: schemas}, codecs.ParseSensor
	return o
}

// rawDecoder decodes readings for a ledger, and asks for schemas that it meets for the first time.
type rawDecoder struct {
	decoder codecs.RawDecoder
	schemas codecs.SchemaSource
}

var _ ledger.RawDecoder = (*rawDecoder)(nil)

// Decode implements ledger.RawDecoder.
func (d *rawDecoder) Decode(ctx context.Context, data []byte, r *codecs.RawReading) error {
	for {
		err := d.decoder.Decode(data, r)
		var needed *codecs.SchemaNeededError
		if !errors.As(err, &needed) {
			return err
		}
		if err := d.decoder.Learn(ctx, needed.ID, d.schemas); err != nil {
			return fmt.Errorf("schema %d: %w", needed.ID, err)
		}
	}
}

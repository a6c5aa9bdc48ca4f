package codecs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	schemasMax      = 1024        // writer schemas that are kept, and as many refused ids
	unknownSchemaIn = time.Minute // how long an unknown id stays refused: a registry may be eventually consistent
	registryWaitMin = 100 * time.Millisecond
	registryWaitMax = 5 * time.Second
)

// What a SchemaSource says of an id for good. Every other error is taken as an outage.
var (
	ErrSchemaUnknown = errors.New("no such schema id")
	ErrSchemaNotAvro = errors.New("not an Avro schema")
)

// SchemaSource knows writer schemas by their id; registry.Client is one.
type SchemaSource interface {
	// Schema returns the text of an Avro schema. Errors that wrap ErrSchemaUnknown or ErrSchemaNotAvro are the
	// registry's word; with every other error the caller asks again.
	Schema(ctx context.Context, id int32) (string, error)
}

// SchemaNeededError says that a message's writer schema has not been looked up yet. The message is neither good nor
// bad: the caller calls RawDecoder.Learn with the ID and decodes again.
type SchemaNeededError struct{ ID int32 }

func (e *SchemaNeededError) Error() string {
	return fmt.Sprintf("writer schema %d has not been looked up", e.ID)
}

// RawDecoder decodes records of traffic-raw and remembers the writer schemas that they need. Its zero value is ready to
// use, from several goroutines; Decode takes no lock.
type RawDecoder struct {
	// Now is the clock by which an unknown id is asked for again; nil means time.Now.
	Now func() time.Time
	// OnWait, if set, is told of each failed look-up before the wait that follows it.
	OnWait func(id int32, err error, wait time.Duration)

	// Good and refused ids are bounded apart, so that a flood of made-up ids cannot push out a schema in use.
	programs schemaCache[*step]
	refused  schemaCache[refusal]
}

// refusal is why messages with a schema id are undecodable.
type refusal struct {
	err   error
	until time.Time // zero: for good
}

// Decode reads a raw record: Avro in the Confluent wire format if its first byte is 0, otherwise JSON. Strings in r
// alias data. A *SchemaNeededError means that the answer is not known yet (see Learn); with every other error the
// message is undecodable, and r holds nothing of use. The Avro path allocates only errors.
func (d *RawDecoder) Decode(data []byte, r *RawReading) error {
	*r = RawReading{}
	if len(data) == 0 {
		return errors.New("the message is empty")
	}
	if data[0] != wireMagic {
		return decodeRawJSON(data, r)
	}
	id, body, err := SplitWire(data)
	if err != nil {
		return err
	}
	program, err := d.program(id)
	if err != nil {
		return err
	}
	w := wireReader{b: body}
	program.run(&w, r, nestingMax)
	return w.end()
}

func (d *RawDecoder) program(id int32) (*step, error) {
	if id < 0 {
		return nil, fmt.Errorf("writer schema %d: %w: ids are not negative", id, ErrSchemaUnknown)
	}
	if p, ok := d.programs.get(id); ok {
		return p, nil
	}
	if no, ok := d.refused.get(id); ok && (no.until.IsZero() || d.now().Before(no.until)) {
		return nil, no.err
	}
	return nil, &SchemaNeededError{ID: id}
}

// Learn looks a writer schema up and remembers the answer: how to read its records, or that it is unknown, not Avro, or
// does not resolve to RawSchema, which makes its messages undecodable. Where the registry gives no answer, Learn asks
// again, with waits of 0.1 to 5 s, until ctx ends; that is the only error it returns.
func (d *RawDecoder) Learn(ctx context.Context, id int32, src SchemaSource) error {
	for wait := registryWaitMin; ; wait = min(2*wait, registryWaitMax) {
		text, err := src.Schema(ctx, id)
		switch {
		case err == nil:
			d.keep(id, text)
			return nil
		case errors.Is(err, ErrSchemaUnknown):
			d.refuse(id, err, d.now().Add(unknownSchemaIn))
			return nil
		case errors.Is(err, ErrSchemaNotAvro):
			d.refuse(id, err, time.Time{})
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("look up writer schema %d: %w: %w", id, ctx.Err(), err)
		}
		if d.OnWait != nil {
			d.OnWait(id, err, wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("look up writer schema %d: %w: %w", id, ctx.Err(), err)
		}
	}
}

func (d *RawDecoder) keep(id int32, text string) {
	program, err := compile(text)
	if err != nil {
		d.refuse(id, err, time.Time{})
		return
	}
	d.programs.put(id, program)
}

func (d *RawDecoder) refuse(id int32, err error, until time.Time) {
	d.refused.put(id, refusal{err: fmt.Errorf("writer schema %d: %w", id, err), until: until})
}

func (d *RawDecoder) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

// schemaCache keeps the schemasMax values that were put last. Reads take no lock: a put replaces the whole map, which
// is cheap beside the look-up that led to it.
type schemaCache[V any] struct {
	m     atomic.Pointer[map[int32]V]
	mu    sync.Mutex
	order []int32 // ids by the time when they came in; guarded by mu
}

func (c *schemaCache[V]) get(id int32) (v V, ok bool) {
	if m := c.m.Load(); m != nil {
		v, ok = (*m)[id]
	}
	return v, ok
}

func (c *schemaCache[V]) put(id int32, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[int32]V)
	if m := c.m.Load(); m != nil {
		maps.Copy(next, *m)
	}
	if _, ok := next[id]; !ok {
		if len(c.order) == schemasMax {
			delete(next, c.order[0])
			c.order = append(c.order[:0], c.order[1:]...)
		}
		c.order = append(c.order, id)
	}
	next[id] = v
	c.m.Store(&next)
}

// AppendRaw appends a raw reading in the Confluent wire format, as RawSchema with the given id. Avro cannot hold
// everything that a RawReading can: a missing timestamp is written as 0, a volume beyond int32 as the nearest int32
// (both are rejected for what they are: far too old, out of range), and one coordinate without the other is left out.
func AppendRaw(b []byte, schemaID int32, r *RawReading) []byte {
	b = appendString(AppendWireHeader(b, schemaID), r.SensorID)
	b = appendLong(b, r.Timestamp.Or(0))
	b = appendNullDouble(b, r.SpeedMPH)
	volume := Null[int32]{Valid: r.VolumeVPH.Valid}
	volume.V = int32(min(max(r.VolumeVPH.V, math.MinInt32), math.MaxInt32))
	b = appendNullInt(b, volume)
	b = appendNullDouble(b, r.Occupancy)
	if !r.Latitude.Valid || !r.Longitude.Valid {
		return append(b, branchNull)
	}
	b = append(b, branchValue)
	return appendDouble(appendDouble(b, r.Latitude.V), r.Longitude.V)
}

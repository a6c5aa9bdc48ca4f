package main

import (
	"errors"
	"strconv"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"

	"gantry/codecs"
	"gantry/processors/dedup"
)

// dedupStage decides about each message of traffic-raw.
type dedupStage struct {
	decoder codecs.RawDecoder
	schemas codecs.SchemaSource
	event   int32 // id of codecs.EventSchema
	rules   dedup.Options
}

func newDedup(schemas codecs.SchemaSource, event int32) *dedupStage {
	s := &dedupStage{schemas: schemas, event: event, rules: dedup.DefaultOptions()}
	// The rules of the race: no metadata is loaded, and a reading needs no speed.
	s.rules.Rules.KnownSensorsOnly = false
	s.rules.Rules.Required = nil
	return s
}

func (s *dedupStage) graph() *goka.GroupGraph {
	states := valueCodec[*dedup.State]{appendTo: (*dedup.State).AppendTo, decode: dedup.DecodeState}
	return goka.DefineGroup(dedupGroup,
		goka.Input(raw, new(codec.Bytes), s.handle),
		goka.Output(events, new(codec.Bytes)),
		goka.Output(rejects, new(codec.Bytes)),
		goka.Persist(states))
}

func (s *dedupStage) handle(ctx goka.Context, message any) {
	b, _ := message.([]byte) // nil for a null, which is not decodable
	source := codecs.Source{Topic: string(raw), Partition: ctx.Partition(), Offset: ctx.Offset()}
	arrived := ctx.Timestamp().UnixMilli()
	headers := goka.Headers{
		codecs.HeaderSource:     source.AppendTo(nil),
		codecs.HeaderReceivedAt: strconv.AppendInt(nil, arrived, 10),
	}
	reject := func(reason, detail string) {
		headers[codecs.HeaderReason], headers[codecs.HeaderDetail] = []byte(reason), []byte(detail)
		ctx.Emit(rejects, ctx.Key(), b, goka.WithCtxEmitHeaders(headers))
	}
	var r codecs.RawReading
	if err := s.decode(ctx, b, &r); err != nil {
		reject("undecodable", err.Error())
		return
	}
	v, known := ctx.Value().(*value[*dedup.State])
	if !known {
		v = &value[*dedup.State]{applied: -1, state: new(dedup.State)}
	}
	if ctx.Offset() <= v.applied {
		return
	}
	d := dedup.Decide(v.state, &r, &dedup.Arrival{Source: source, ReceivedAt: arrived}, &s.rules)
	if !d.Accepted {
		reject(d.Reason.String(), d.Detail)
		return
	}
	v.applied = ctx.Offset()
	headers[codecs.HeaderKind] = []byte(codecs.KindReading)
	ctx.Emit(events, ctx.Key(), codecs.AppendReading(nil, s.event, &d.Reading), goka.WithCtxEmitHeaders(headers))
	ctx.SetValue(v)
}

// decode reads a message, and asks the registry for a schema that is seen for the first time.
func (s *dedupStage) decode(ctx goka.Context, b []byte, r *codecs.RawReading) error {
	err := s.decoder.Decode(b, r)
	var needed *codecs.SchemaNeededError
	if !errors.As(err, &needed) {
		return err
	}
	if err := s.decoder.Learn(ctx.Context(), needed.ID, s.schemas); err != nil {
		ctx.Fail(err) // it is stopping
	}
	return s.decoder.Decode(b, r)
}

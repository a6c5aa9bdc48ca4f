package main

import (
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"

	"gantry/codecs"
	"gantry/processors/window"
)

// windowStage folds readings into windows.
type windowStage struct {
	event int32 // id of codecs.EventSchema
	rules window.Options
}

func newWindow(event int32) *windowStage {
	return &windowStage{event: event, rules: window.DefaultOptions()}
}

func (s *windowStage) graph() *goka.GroupGraph {
	states := valueCodec[*window.State]{appendTo: (*window.State).AppendTo, decode: window.DecodeState}
	return goka.DefineGroup(windowGroup,
		goka.Input(events, new(codec.Bytes), s.handle),
		goka.Output(windows, new(codec.Bytes)),
		goka.Persist(states))
}

func (s *windowStage) handle(ctx goka.Context, message any) {
	b, _ := message.([]byte)
	var r codecs.Reading
	if err := codecs.DecodeReading(b, &r); err != nil {
		ctx.Fail(err) // nobody else writes here
	}
	v, known := ctx.Value().(*value[*window.State])
	if !known {
		v = &value[*window.State]{applied: -1, state: new(window.State)}
	}
	if ctx.Offset() <= v.applied {
		return
	}
	outcome := v.state.ApplyReading(&r, &s.rules, func(w *codecs.WindowAggregate, _ int64) {
		ctx.Emit(windows, ctx.Key(), codecs.AppendWindow(nil, s.event, w), goka.WithCtxEmitHeaders(goka.Headers{
			codecs.HeaderKind: []byte(codecs.KindWindow),
		}))
	})
	if outcome == window.Applied || outcome == window.Late {
		v.applied = ctx.Offset()
		ctx.SetValue(v)
	}
}

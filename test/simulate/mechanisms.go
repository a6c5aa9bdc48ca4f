package simulate

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/processors/window"
	"gantry/store"
	"gantry/store/archive/fstest"
)

// Mechanisms names what a run can take out, to show that the simulation sees what it prevents: those of the engine, the
// numbers by which the window stage tells repeats and gaps, and those of the archive's commits and seals.
func Mechanisms() []string {
	return slices.Concat(store.Mechanisms(), []string{numbersFilter}, fstest.Mechanisms())
}

const numbersFilter = "sequence filter"

// ofStages tells whether a mechanism is one of the stages, which are there without archivers too.
func ofStages(mechanism string) bool {
	return mechanism == numbersFilter || slices.Contains(store.Mechanisms(), mechanism)
}

// takeOut takes a mechanism out. Those of the archive are taken out of the file system that its writers see.
func (w *world) takeOut(mechanism string) error {
	switch {
	case !slices.Contains(Mechanisms(), mechanism):
		return fmt.Errorf("no mechanism %q: there are %q", mechanism, Mechanisms())
	case mechanism == numbersFilter:
		w.handlers[windowRole] = unfiltered{w.handlers[windowRole]}
	case ofStages(mechanism):
		w.engineWithout = mechanism
	}
	return nil
}

// unfiltered is the window stage without its filter: it gives each reading the number that the sensor expects, so that
// none is a repeat and none stands beyond a gap.
type unfiltered struct{ processors.Handler }

func (h unfiltered) Handle(ctx context.Context, l *store.Lane, input int, b *processors.Batch) error {
	for _, r := range b.Records {
		r, err := renumber(l, r)
		if err != nil {
			return err
		}
		one := processors.NewBatch(b.Topic, b.Partition, []*kgo.Record{r})
		if err := h.Handler.Handle(ctx, l, input, one); err != nil {
			return err
		}
	}
	return nil
}

func renumber(l *store.Lane, r *kgo.Record) (*kgo.Record, error) {
	var v codecs.Reading
	if kindOf(r) != codecs.KindReading {
		return r, nil
	}
	if err := codecs.DecodeReading(r.Value, &v); err != nil {
		return nil, err
	}
	if err := l.Begin(); err != nil {
		return nil, err
	}
	defer l.End()
	c, err := l.Cell(v.SensorID)
	if err != nil {
		return nil, err
	}
	v.Sequence = c.State.(*window.State).Sequence() + 1
	changed := *r
	changed.Value = codecs.AppendReading(nil, eventSchema, &v)
	return &changed, nil
}

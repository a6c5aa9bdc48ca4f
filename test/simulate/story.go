package simulate

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/store"
)

// describe says in a few words what a record is.
func (w *world) describe(r *kgo.Record) string {
	if !w.o.Story {
		return ""
	}
	switch r.Topic {
	case topicRaw:
		if kindOf(r) == codecs.KindSensor {
			return "metadata of " + string(r.Key)
		}
		return string(r.Value)
	case topicRejects:
		return fmt.Sprintf("%s is rejected: %s", header(r, codecs.HeaderSource), header(r, codecs.HeaderReason))
	case topicEvents:
		return describeEvent(r)
	}
	applied, _, err := store.SplitValue(r.Value)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s as of %d", r.Key, applied)
}

func describeEvent(r *kgo.Record) string {
	var e codecs.Event
	if err := codecs.DecodeEvent(r.Value, &e); err != nil {
		return err.Error()
	}
	switch e.Kind {
	case codecs.KindReading:
		return fmt.Sprintf("reading %d of %s, from %s", e.Reading.Sequence, e.Reading.SensorID,
			header(r, codecs.HeaderSource))
	case codecs.KindWindow:
		v := &e.Window
		return fmt.Sprintf("window %s of %s, revision %d, counts %d", codecs.FormatTime(v.WindowStart), v.SensorID,
			v.Revision, v.MessageCount)
	default:
		return fmt.Sprintf("%s is silent at %s as of %s", e.Silence.SensorID, codecs.FormatTime(e.Silence.Watermark),
			codecs.FormatTime(e.Silence.AsOf))
	}
}

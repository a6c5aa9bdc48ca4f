package deadletter

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// Trace is a reject and all that came of it.
type Trace struct {
	*Reject
	Redrives []Redriven // one after the other, each of the reject of the one before
}

// Redriven is a redrive, and its outcome.
type Redriven struct {
	At       codecs.Source  // on traffic-raw
	Accepted *codecs.Source // the reading on traffic-events
	Rejected *Reject        // nil too where the pipeline has not judged it yet
}

// ParseReference reads what names a reject: PARTITION/OFFSET on traffic-rejects, or TOPIC/PARTITION/OFFSET of the raw
// record or of the reject.
func ParseReference(text, rejectsTopic string) (codecs.Source, error) {
	if strings.Count(text, "/") == 1 {
		text = rejectsTopic + "/" + text
	}
	s, err := codecs.ParseSource(text)
	if err != nil {
		return s, fmt.Errorf("%w, nor PARTITION/OFFSET of %s", err, rejectsTopic)
	}
	return s, nil
}

// Trace finds a reject by its place or by its raw record, and follows its redrives to the last outcome. The error wraps
// ErrNotFound where there is none.
func (q *Queue) Trace(ctx context.Context, ref codecs.Source) (*Trace, error) {
	j, err := q.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	j.Decode(ctx, q.o.Decoder)
	t := &Trace{Reject: j}
	x, err := q.search(ctx, j.ReceivedAt)
	if err != nil {
		return nil, err
	}
	places := make(map[codecs.Source]int) // of the redrives
	for s := j.Source; ; {
		at, ok := x.find(s)
		if _, again := places[at]; !ok || again {
			break // again: headers that no redrive has written may name each other
		}
		places[at] = len(t.Redrives)
		t.Redrives = append(t.Redrives, Redriven{At: at})
		s = at
	}
	return t, q.outcomes(ctx, t, places)
}

// find reads the reject with this place or source.
func (q *Queue) find(ctx context.Context, ref codecs.Source) (*Reject, error) {
	topic := string(q.o.Topics.Rejects)
	s, err := q.bounds(ctx, topic)
	if err != nil {
		return nil, err
	}
	if ref.Topic == topic {
		if int(ref.Partition) >= len(s) || ref.Offset < s[ref.Partition].from || ref.Offset >= s[ref.Partition].to {
			return nil, fmt.Errorf("%w: %v is not there, or retention has deleted it", ErrNotFound, ref)
		}
		only := span{ref.Offset, ref.Offset + 1}
		s = make(spans, len(s))
		s[ref.Partition] = only
	}
	var found *Reject
	err = q.read(ctx, StageRejects, map[string]spans{topic: s}, func(r *kgo.Record) error {
		j, err := Parse(r)
		if ref.Topic == topic && err != nil {
			return err
		}
		if err == nil && j.isAt(ref) {
			found = j
			return errEnough
		}
		return nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%w: %s holds none of %v; it may have been accepted, or retention has deleted it", ErrNotFound,
			topic, ref)
	}
	return found, err
}

// outcomes finds what became of the redrives. Most that are left over were rejected: the topic that is shorter to read
// comes first, and the other one only for what is not found there.
func (q *Queue) outcomes(ctx context.Context, t *Trace, places map[codecs.Source]int) error {
	for _, topic := range []string{string(q.o.Topics.Rejects), string(q.o.Topics.Events)} {
		if len(places) == 0 {
			return nil
		}
		all, err := q.bounds(ctx, topic)
		if err != nil {
			return err
		}
		s, err := q.since(ctx, topic, all, t.RejectedAt-clockSkew.Milliseconds())
		if err != nil {
			return err
		}
		err = q.read(ctx, StageOutcomes, map[string]spans{topic: s}, func(r *kgo.Record) error {
			i, ok := places[sourceOf(r)]
			if !ok {
				return nil
			}
			delete(places, t.Redrives[i].At)
			if topic == string(q.o.Topics.Events) {
				t.Redrives[i].Accepted = &codecs.Source{Topic: topic, Partition: r.Partition, Offset: r.Offset}
			} else if j, err := Parse(r); err == nil {
				t.Redrives[i].Rejected = j
			}
			if len(places) == 0 {
				return errEnough
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sourceOf is the raw record that an outcome names; the zero value where it names none.
func sourceOf(r *kgo.Record) codecs.Source {
	i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == codecs.HeaderSource })
	if i < 0 {
		return codecs.Source{}
	}
	s, _ := codecs.ParseSource(string(r.Headers[i].Value))
	return s
}

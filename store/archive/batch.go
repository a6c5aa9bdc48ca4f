package archive

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"gantry/codecs"
)

// rawEntry and windowEntry are rows that wait for the next flush. Their strings are kept by the batch.
type rawEntry struct {
	codecs.Reading
	sourcePartition int32
	sourceOffset    int64
	offset          int64 // on traffic-events
}

type windowEntry struct {
	codecs.WindowAggregate
	ordinal int64
	offset  int64
}

// batch holds the rows between two flushes, in the order of their offsets.
type batch struct {
	raw     []rawEntry
	windows []windowEntry
	names   map[string]string // freeways and directions: a few values in many rows
}

// namesMax bounds what is kept of names from batch to batch.
const namesMax = 4096

func (b *batch) rows() int { return len(b.raw) + len(b.windows) }

func (b *batch) reset() {
	b.raw, b.windows = b.raw[:0], b.windows[:0]
	if len(b.names) > namesMax {
		clear(b.names)
	}
}

func (b *batch) addReading(id string, r *codecs.Reading, source codecs.Source, offset int64) {
	e := rawEntry{Reading: *r, sourcePartition: source.Partition, sourceOffset: source.Offset, offset: offset}
	e.SensorID = id
	e.Freeway.V = b.name(r.Freeway.V)
	e.Direction.V = b.name(r.Direction.V)
	e.LevelOfService = codecs.Null[string]{} // not archived, and it may alias the record
	b.raw = append(b.raw, e)
}

func (b *batch) addWindow(id string, w *codecs.WindowAggregate, ordinal, offset int64) {
	e := windowEntry{WindowAggregate: *w, ordinal: ordinal, offset: offset}
	e.SensorID = id
	b.windows = append(b.windows, e)
}

// name returns a copy of s that is kept once.
func (b *batch) name(s string) string {
	if s == "" {
		return ""
	}
	if kept, ok := b.names[s]; ok {
		return kept
	}
	if b.names == nil {
		b.names = make(map[string]string)
	}
	s = strings.Clone(s)
	b.names[s] = s
	return s
}

// retain drops the rows for which keep says no; it asks in the order of the offsets of each table.
func (b *batch) retain(keepRaw func(*rawEntry) bool, keepWindow func(*windowEntry) bool) {
	b.raw = retain(b.raw, keepRaw)
	b.windows = retain(b.windows, keepWindow)
}

func retain[T any](entries []T, keep func(*T) bool) []T {
	n := 0
	for i := range entries {
		if keep(&entries[i]) {
			entries[n] = entries[i]
			n++
		}
	}
	return entries[:n]
}

// compareRaw sorts by hour, and within it as the file's sorting columns say.
func compareRaw(a, b *rawEntry) int {
	return cmp.Or(
		cmp.Compare(a.hour(), b.hour()),
		strings.Compare(a.SensorID, b.SensorID),
		cmp.Compare(a.Timestamp, b.Timestamp),
		cmp.Compare(a.Sequence, b.Sequence),
	)
}

func compareWindows(a, b *windowEntry) int {
	return cmp.Or(
		cmp.Compare(a.hour(), b.hour()),
		strings.Compare(a.SensorID, b.SensorID),
		cmp.Compare(a.WindowStart, b.WindowStart),
		cmp.Compare(a.Revision, b.Revision),
	)
}

func (r *rawEntry) hour() int64    { return hourOf(r.Timestamp) }
func (w *windowEntry) hour() int64 { return hourOf(w.WindowStart) }

// entry is a row that knows its hour of event time.
type entry interface {
	appendRow(parquet.Row) parquet.Row
	hour() int64
}

// byHour yields the rows of each hour, sorted. The entries stay in their own order: a flush may fail.
func byHour[T any, P interface {
	*T
	entry
}](entries []T, compare func(a, b P) int) iter.Seq[[]P] {
	return func(yield func([]P) bool) {
		sorted := make([]P, len(entries))
		for i := range entries {
			sorted[i] = &entries[i]
		}
		slices.SortFunc(sorted, compare)
		for len(sorted) > 0 {
			n := 1
			for n < len(sorted) && sorted[n].hour() == sorted[0].hour() {
				n++
			}
			if !yield(sorted[:n]) {
				return
			}
			sorted = sorted[n:]
		}
	}
}

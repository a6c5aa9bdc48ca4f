package ledger

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

func checkClean(t *testing.T, w *world, x Extent) *Report {
	t.Helper()
	r := w.verify(t, x)
	if !r.OK() || !r.Totals.Balanced() {
		r.WriteText(t.Output())
		t.Fatal("exceptions in a legal world")
	}
	return r
}

// A crash repeats a run of records on traffic-events and traffic-rejects, with equal content.
func TestEqualRepeats(t *testing.T) {
	w := day()
	for _, topic := range [][][]*kgo.Record{w.events, w.rejects} {
		for p, records := range topic {
			half := len(records) / 2
			topic[p] = slices.Concat(records[:half], records[half/2:half], records[half:], records)
			for i, r := range topic[p] { // copies share no record
				c := *r
				c.Offset = int64(i)
				topic[p][i] = &c
			}
		}
	}
	if r := checkClean(t, w, w.extent()); r.Totals.Repeats == 0 || r.Totals.Accepted != day().verify(t, day().extent()).Totals.Accepted {
		t.Errorf("totals: %+v", r.Totals)
	}
}

// A producer may deliver a reading behind one that failed. After its restart both come, in order; the reader has skipped
// the early one, so that no window counts it before.
func TestReadingThatCameTooEarly(t *testing.T) {
	for i, n := range []int{5, 10, 11, 12, 20} { // some of them close windows
		w := day()
		r, next := w.event(codecs.KindReading, "100", n), w.event(codecs.KindReading, "100", n+1)
		early := *next
		p := w.events[r.Partition]
		w.events[r.Partition] = slices.Insert(p, int(r.Offset), &early)
		renumber(w.events)
		if got := checkClean(t, w, w.extent()); got.Totals.Repeats != 1 {
			t.Errorf("case %d: %d repeats", i, got.Totals.Repeats)
		}
	}
}

// The same where the crash is the end of the log: what is missing is not committed, so it is pending, not lost.
func TestEarlyReadingAtTheEnd(t *testing.T) {
	w := day()
	last := w.event(codecs.KindReading, "100", w.acceptedOf("100")-1)
	missing := w.event(codecs.KindReading, "100", w.acceptedOf("100")-2)
	source, err := codecs.ParseSource(sourceOf(missing))
	if err != nil {
		t.Fatal(err)
	}
	remove(w.events, missing)
	renumber(w.events)
	x := w.extent()
	x.Raw[source.Partition].Committed = source.Offset
	if r := checkClean(t, w, x); r.Totals.Pending == 0 {
		t.Errorf("totals: %+v", r.Totals)
	}
	checkFindings(t, w, finding{KindMissingOutcome, sourceOf(missing)}, finding{KindSequenceGap, place(last)})
}

func (w *world) acceptedOf(id string) int { return int(w.sensors[id].sequence) }

// The window stage follows at its own pace: readings that it has not seen stand before what it publishes.
func TestWindowsThatLag(t *testing.T) {
	w := newWorld()
	w.hold = true
	w.load("100", &codecs.Sensor{SensorID: "100", Latitude: 34, Longitude: -118})
	for step := range 100 {
		w.clock = dayStart + int64(step)*30_000
		w.send(codecs.RawReading{SensorID: "100", Timestamp: codecs.Some(w.clock), SpeedMPH: codecs.Some(float64(step))})
		if step > 30 {
			w.send(codecs.RawReading{
				SensorID: "100", Timestamp: codecs.Some(w.clock - 600_001),
				SpeedMPH: codecs.Some(float64(step)),
			})
		}
	}
	committed := int64(len(w.events[w.partition("100")]))
	x := w.extent()
	w.flush()
	checkClean(t, w, w.extent())

	// Without its records the stage has only not come so far, unless it has committed what made them due.
	w.events[w.partition("100")] = w.events[w.partition("100")][:committed]
	x.Events[w.partition("100")].Committed = 0
	if r := checkClean(t, w, x); r.Totals.WindowsPending == 0 {
		t.Errorf("totals: %+v", r.Totals)
	}
	x.Events[w.partition("100")].Committed = committed
	if r := w.verify(t, x); r.ExceptionsByKind[KindWindowMissing] == 0 {
		t.Error("committed windows are missing, and no exception")
	}
}

// Another writer's window records may have no ordinals.
func TestWithoutOrdinals(t *testing.T) {
	w := day()
	for _, r := range slices.Concat(w.events...) {
		dropHeader(r, codecs.HeaderOrdinal)
	}
	checkClean(t, w, w.extent())
}

// What is not committed is pending, whether it has an outcome already or not.
func TestPending(t *testing.T) {
	w := day()
	x := w.extent()
	var want int64
	for p := range w.raw {
		for range 3 {
			w.add(w.raw, w.o.RawTopic, int32(p), []byte("100"), []byte("{}"))
		}
		x.Raw[p].End += 3
		want += 3
	}
	if r := checkClean(t, w, x); r.Totals.Pending != want {
		t.Errorf("%d pending, not %d", r.Totals.Pending, want)
	}
	if r := w.verify(t, w.extent()); r.Totals.Missing != want {
		t.Errorf("%d missing, not %d", r.Totals.Missing, want)
	}
	for p := range x.Raw {
		x.Raw[p].Committed = 0
	}
	if r := checkClean(t, w, x); r.Verdict != VerdictNothing {
		t.Errorf("verdict %q although nothing is committed", r.Verdict)
	}
}

// With raw.keyed: false the router has committed what still waits on the loop.
func TestWaitingOnTheLoop(t *testing.T) {
	w := day()
	w.o.Keyed = false
	raw := w.addRaw("100", []byte("{}"))
	x := w.extent()
	l, err := New(w.o, x)
	if err != nil {
		t.Fatal(err)
	}
	l.Loop(&kgo.Record{Headers: []kgo.RecordHeader{{Key: codecs.HeaderSource, Value: []byte(place(raw))}}})
	for _, r := range slices.Concat(w.raw...) {
		if err := l.Raw(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range slices.Concat(w.events...) {
		l.Event(r)
	}
	for _, r := range slices.Concat(w.rejects...) {
		l.Reject(r)
	}
	if r := l.Close(); !r.OK() || r.Totals.Pending != 1 {
		t.Errorf("%+v %v", r.Totals, r.Exceptions)
	}
	if r := w.verify(t, x); !(finding{KindMissingOutcome, place(raw)}).in(r) {
		t.Error("it is not on the loop, and not missing either")
	}
}

// Markers of transactions and aborted records take offsets of traffic-raw: holes, not losses.
func TestHoles(t *testing.T) {
	w := day()
	for i, r := range w.raw[0] {
		r.Offset = int64(i)
	}
	for _, topic := range [][][]*kgo.Record{w.events, w.rejects} {
		for _, r := range slices.Concat(topic...) {
			source, err := codecs.ParseSource(sourceOf(r))
			if err == nil {
				source.Offset = source.Offset*2 + 1
				setHeader(r, codecs.HeaderSource, source.String())
			}
		}
	}
	for _, r := range slices.Concat(w.raw...) {
		r.Offset = r.Offset*2 + 1
	}
	setHeader(w.redrive(), codecs.HeaderRedrive, sourceOf(w.rejected("undecodable")))
	r := checkClean(t, w, w.extent())
	if r.Totals.Holes != r.Totals.Records {
		t.Errorf("totals: %+v", r.Totals)
	}
}

// Retention takes the beginnings of the topics at different places. What may have gone with them is not called lost, and
// the proved range says so; what is removed behind it is found.
func TestRetention(t *testing.T) {
	cutAt := dayStart + 10*30_000
	w := day()
	x := w.extent()
	cut := func(topic [][]*kgo.Record, spans []Span, at int64) {
		for p := range topic {
			i := slices.IndexFunc(topic[p], func(r *kgo.Record) bool { return r.Timestamp.UnixMilli() >= at })
			spans[p].Start = topic[p][i].Offset
			topic[p] = topic[p][i:]
			x.ExpiredUntil = max(x.ExpiredUntil, topic[p][0].Timestamp.UnixMilli())
		}
	}
	cut(w.events, x.Events, cutAt)
	r := checkClean(t, w, x)
	if r.Totals.Expired == 0 || r.Totals.WindowsUnproved == 0 || r.Ranges[0].From == 0 || r.Ranges[0].From == r.Ranges[0].To {
		t.Errorf("totals %+v, ranges %+v", r.Totals, r.Ranges)
	}
	cut(w.raw, x.Raw, cutAt+10*30_000)
	if r := checkClean(t, w, x); r.Totals.RawExpired == 0 {
		t.Errorf("totals: %+v", r.Totals)
	}
	removed := w.event(codecs.KindReading, "200", 25)
	remove(w.events, removed)
	if r := w.verify(t, x); !(finding{KindMissingOutcome, sourceOf(removed)}).in(r) {
		t.Error("a reading that was removed behind the cut is not missing")
	}
}

// An outcome may come before its raw record, however the partitions are read.
func TestOutcomesFirst(t *testing.T) {
	w := day()
	altered := w.event(codecs.KindReading, "100", 5)
	editReading(altered, func(v *codecs.Reading) { v.VolumeVPH.V = 1 })
	l, err := New(w.o, w.extent())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range slices.Concat(w.events...) {
		c := *r
		c.Value = slices.Clone(r.Value)
		l.Event(&c)
		clear(c.Value) // the ledger keeps nothing of a record's memory
	}
	for _, r := range slices.Concat(w.rejects...) {
		l.Reject(r)
	}
	for _, r := range slices.Concat(w.raw...) {
		if err := l.Raw(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	report := l.Close()
	if n := report.ExceptionsByKind[KindUnfitOutcome]; !(finding{KindUnfitOutcome, place(altered)}).in(report) || n > 2 {
		t.Errorf("exceptions: %v", report.Exceptions)
	}
}

// A wholly wrong topic does not fill the memory with exceptions: the first are kept, all are counted.
func TestExceptionsAreBounded(t *testing.T) {
	w := newWorld()
	for range 3 * exceptionsKept {
		w.add(w.events, w.o.EventsTopic, 0, nil, nil)
	}
	r := w.verify(t, w.extent())
	if len(r.Exceptions) != exceptionsKept || r.ExceptionsByKind[KindMalformed] != 3*exceptionsKept {
		t.Errorf("%d kept, %v", len(r.Exceptions), r.ExceptionsByKind)
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil || !strings.Contains(b.String(), "and 2000 more") {
		t.Errorf("text: %v %s", err, b.String()[:200])
	}
}

// The report is readable by people and by programs.
func TestReportForms(t *testing.T) {
	w := day()
	remove(w.rejects, w.rejected("conflict"))
	r := w.verify(t, w.extent())
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"= ", " accepted + ", "exceptions, missing_outcome: 1", "traffic-raw/", "verdict: there are"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
	b, err := json.Marshal(r)
	if err != nil || !bytes.Contains(b, []byte(`"kind":"missing_outcome","topic":"traffic-raw"`)) {
		t.Errorf("JSON: %v %s", err, b)
	}
}

// Options that cannot be right are refused, all problems together.
func TestOptions(t *testing.T) {
	o := testOptions()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	o.Retention, o.Grace, o.EventsTopic = time.Minute, -time.Second, o.RawTopic
	err := o.Validate()
	for _, want := range []string{"window.retention", "window.grace", "topics.events"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error %v lacks %s", err, want)
		}
	}
}

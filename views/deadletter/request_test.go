package deadletter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/processors/validate"
)

const (
	topic      = "traffic-raw"
	partitions = 5
	arrived    = int64(1_764_000_000_000)
)

// decoder decodes JSON alone.
type decoder struct{ err error }

func (d decoder) Decode(_ context.Context, data []byte, r *codecs.RawReading) error {
	if d.err != nil {
		return d.err
	}
	var raw codecs.RawDecoder
	return raw.Decode(data, r)
}

// rejectOf is a record of traffic-rejects for raw record traffic-raw/2/100.
func rejectOf(value string, headers ...string) *kgo.Record {
	r := &kgo.Record{
		Topic: "traffic-rejects", Partition: 2, Offset: 7, Key: []byte("key"), Value: []byte(value),
		Timestamp: time.UnixMilli(arrived + 50),
	}
	set := map[string]string{
		codecs.HeaderSource: "traffic-raw/2/100", codecs.HeaderReceivedAt: strconv.FormatInt(arrived, 10),
		codecs.HeaderReason: "speed_range", codecs.HeaderDetail: "speed_range: too fast",
	}
	for i := 0; i < len(headers); i += 2 {
		set[headers[i]] = headers[i+1]
	}
	for _, k := range slices.Sorted(maps.Keys(set)) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: k, Value: []byte(set[k])})
	}
	return r
}

func parse(t *testing.T, d Decoder, r *kgo.Record) *Reject {
	t.Helper()
	j, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	j.Decode(t.Context(), d)
	return j
}

// complete is an index that reaches back to the first record of every partition.
func complete() *index { return newIndex(topic, make([]searched, partitions)) }

func redriveOf(source string, p int32, offset int64) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Partition: p, Offset: offset, Timestamp: time.UnixMilli(arrived + 100),
		Headers: []kgo.RecordHeader{{Key: codecs.HeaderRedrive, Value: []byte(source)}},
	}
}

const reading = `{"sensor_id":"s-1","timestamp":1764000000000,"speed_mph":130}`

// What can be sent is sent, each reject once, and each refusal says why.
func TestDecide(t *testing.T) {
	again := []string{codecs.HeaderRedrive, "traffic-raw/2/50", codecs.HeaderWaive, "too_old"}
	named := Filter{Sources: []codecs.Source{{Topic: topic, Partition: 2, Offset: 100}}}
	redriven := complete()
	redriven.add(redriveOf("traffic-raw/2/100", 3, 9))
	place := processors.PartitionOf("s-1", partitions)
	deleted := func(s searched) *index {
		x := complete()
		x.parts[place] = s
		return x
	}
	for name, tt := range map[string]struct {
		request Request
		decoder decoder
		reject  *kgo.Record
		index   *index
		want    Fate
		why     string
	}{
		"a reading":          {reject: rejectOf(reading), want: FateSent},
		"waived":             {request: Request{Waive: validate.ReasonSpeedRange}, reject: rejectOf(reading), want: FateSent},
		"redriven":           {reject: rejectOf(reading), index: redriven, want: FateRedriven},
		"redriven and named": {request: Request{Filter: named}, reject: rejectOf(reading), index: redriven, want: FateRedriven},
		"redriven, with another waiver": {
			request: Request{Waive: validate.ReasonSpeedRange}, reject: rejectOf(reading), index: redriven, want: FateRedriven,
		},
		"rejected again, same waiver": {
			request: Request{Waive: validate.ReasonTooOld}, reject: rejectOf(reading, again...), want: FateAgain,
		},
		"rejected again, without a waiver": {
			reject: rejectOf(reading, codecs.HeaderRedrive, "traffic-raw/2/50"), want: FateAgain,
		},
		"rejected again, another waiver": {
			request: Request{Waive: validate.ReasonSpeedRange}, reject: rejectOf(reading, again...), want: FateSent,
		},
		"rejected again, named": {
			request: Request{Filter: named, Waive: validate.ReasonTooOld}, reject: rejectOf(reading, again...), want: FateSent,
		},
		"rejected again, asked for": {
			request: Request{Again: true, Waive: validate.ReasonTooOld}, reject: rejectOf(reading, again...), want: FateSent,
		},
		"undecodable": {reject: rejectOf("{"), want: FateRefused, why: "would be rejected again: "},
		"the registry is away": {
			decoder: decoder{ErrNoAnswer}, reject: rejectOf("\x00"), want: FateRefused, why: "when the registry answers",
		},
		"no sensor": {reject: rejectOf(`{"timestamp":1}`), want: FateRefused, why: "sensor_id is missing"},
		"abridged": {
			reject: rejectOf(reading, codecs.HeaderAbridged, "9000000"), want: FateRefused,
			why: "the whole lies at traffic-raw/2/100",
		},
		"of another topic": {
			reject: rejectOf(reading, codecs.HeaderSource, "raw-before/2/100"), want: FateRefused, why: "topics.raw is traffic-raw",
		},
		"of no kind": {reject: rejectOf(reading, codecs.HeaderKind, "window"), want: FateRefused, why: "has no place"},
		"metadata": {
			reject: rejectOf(`{"sensor_id":"key","latitude":34,"longitude":-118}`, codecs.HeaderKind, "sensor"), want: FateRefused,
			why: "name it (traffic-raw/2/100)",
		},
		"metadata, named": {
			request: Request{Filter: named},
			reject:  rejectOf(`{"sensor_id":"key","latitude":34,"longitude":-118}`, codecs.HeaderKind, "sensor"), want: FateSent,
		},
		"metadata of another": {
			request: Request{Filter: named},
			reject:  rejectOf(`{"sensor_id":"other","latitude":34,"longitude":-118}`, codecs.HeaderKind, "sensor"), want: FateRefused,
			why: `differs from the key`,
		},
		"the place of a redrive was deleted": {
			reject: rejectOf(reading), index: deleted(searched{start: 500, from: 500, first: arrived + 1}), want: FateRefused,
			why: "nobody can tell",
		},
		"nothing is left there": {
			reject: rejectOf(reading), index: deleted(searched{start: 500, from: 500}), want: FateRefused, why: "nobody can tell",
		},
		"all since its arrival is there": {
			reject: rejectOf(reading), index: deleted(searched{start: 500, from: 500, first: arrived}), want: FateSent,
		},
		"records from before its arrival are there": {
			reject: rejectOf(reading), index: deleted(searched{start: 500, from: 501, first: arrived + 1}), want: FateSent,
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := tt.index
			if x == nil {
				x = complete()
			}
			v := tt.request.decide(parse(t, tt.decoder, tt.reject), x, partitions)
			if v.Fate != tt.want || !strings.Contains(v.Why, tt.why) || (v.Why != "") != (tt.want == FateRefused) {
				t.Errorf("%s: %q, not %s: %q", v.Fate, v.Why, tt.want, tt.why)
			}
			if v.Fate == FateRedriven && v.Place.String() != "traffic-raw/3/9" {
				t.Errorf("redriven as %v", v.Place)
			}
		})
	}
}

// A redrive to the reject's own partition would be behind the reject's raw record: it is enough that all behind it is
// there.
func TestReachesBehindTheRawRecord(t *testing.T) {
	j := parse(t, decoder{}, rejectOf(reading))
	for start, want := range map[int64]bool{100: true, 101: true, 102: false} {
		x := complete()
		x.parts[2] = searched{start: start, from: start, first: arrived + 1}
		if got := x.reaches(j, 2); got != want {
			t.Errorf("retained from %d: %v, not %v", start, got, want)
		}
	}
}

// What is sent is the message, with its own headers, at its sensor's place, and what Gantry had written is written anew.
func TestRecord(t *testing.T) {
	now := time.UnixMilli(arrived + 3_600_000)
	r := rejectOf(reading, "trace", "a", "gantry-feed", "f/1/7", codecs.HeaderRedrive, "traffic-raw/2/50",
		codecs.HeaderOrigin, "traffic-raw/1/4", codecs.HeaderWaive, "too_old")
	q := Request{Waive: validate.ReasonSpeedRange, Again: true}
	v := q.decide(parse(t, decoder{}, r), complete(), partitions)
	got := q.record(&v, topic, now)
	want := []string{
		"trace: a", "gantry-redrive: traffic-raw/2/100", fmt.Sprintf("gantry-received-at: %d", arrived),
		"gantry-origin: traffic-raw/1/4", "gantry-waive: speed_range",
	}
	var headers []string
	for _, h := range got.Headers {
		headers = append(headers, h.Key+": "+string(h.Value))
	}
	if !slices.Equal(headers, want) || string(got.Key) != "s-1" || string(got.Value) != reading ||
		got.Partition != processors.PartitionOf("s-1", partitions) || !got.Timestamp.Equal(now) {
		t.Errorf("%+v with %v, not %v", got, headers, want)
	}
	// A clock that is behind must not hide the redrive from a look that begins at the first arrival.
	if early := q.record(&v, topic, time.UnixMilli(0)); early.Timestamp.UnixMilli() != arrived {
		t.Errorf("stamped %v, before its arrival", early.Timestamp)
	}
}

// Only what a waiver can let pass is accepted, and each refusal says why.
func TestWaive(t *testing.T) {
	for _, reason := range validate.Reasons() {
		err := (&Request{Waive: reason}).Validate()
		if (err == nil) != reason.Waivable() || (err != nil) != (unwaivable[reason] != "") {
			t.Errorf("%v: %v", reason, err)
		}
		if Mend(reason) == "" {
			t.Errorf("%v: nothing says what can be done", reason)
		}
	}
}

func TestFilter(t *testing.T) {
	j := parse(t, decoder{}, rejectOf(reading))
	for name, tt := range map[string]struct {
		f    Filter
		want bool
	}{
		"all":            {Filter{}, true},
		"reason":         {Filter{Reasons: []validate.Reason{validate.ReasonLate, validate.ReasonSpeedRange}}, true},
		"another reason": {Filter{Reasons: []validate.Reason{validate.ReasonLate}}, false},
		"sensor":         {Filter{Sensor: "s-1"}, true},
		"key":            {Filter{Sensor: "key"}, true},
		"another sensor": {Filter{Sensor: "s-2"}, false},
		"since":          {Filter{Since: arrived}, true},
		"too early":      {Filter{Since: arrived + 1}, false},
		"until":          {Filter{Until: arrived + 1}, true},
		"too late":       {Filter{Until: arrived}, false},
		"source":         {Filter{Sources: []codecs.Source{{Topic: topic, Partition: 2, Offset: 100}}}, true},
		"place":          {Filter{Sources: []codecs.Source{{Topic: "traffic-rejects", Partition: 2, Offset: 7}}}, true},
		"another place":  {Filter{Sources: []codecs.Source{{Topic: "traffic-rejects", Partition: 2, Offset: 8}}}, false},
	} {
		if got := tt.f.admits(j); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestParse(t *testing.T) {
	for name, r := range map[string]*kgo.Record{
		"no headers":     {Topic: "traffic-rejects"},
		"no such reason": rejectOf("", codecs.HeaderReason, "mood"),
		"no source":      rejectOf("", codecs.HeaderSource, "raw"),
		"no time":        rejectOf("", codecs.HeaderReceivedAt, "noon"),
	} {
		if j, err := Parse(r); err == nil {
			t.Errorf("%s: %+v", name, j)
		}
	}
	for text, want := range map[string]string{
		"3/12": "traffic-rejects/3/12", "traffic-raw/3/12": "traffic-raw/3/12", "12": "", "a/b": "", "a/b/c": "",
	} {
		s, err := ParseReference(text, "traffic-rejects")
		if (err == nil) != (want != "") || err == nil && s.String() != want {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
}

// A repeat is known by its source, wherever it stands.
func TestOffsets(t *testing.T) {
	seen := make(offsets)
	for _, first := range []bool{true, false} {
		for _, text := range []string{"a/0/0", "a/0/63", "a/0/64", "a/1/0", "b/0/0"} {
			s, err := codecs.ParseSource(text)
			if err != nil {
				t.Fatal(err)
			}
			if seen.add(s) != first {
				t.Errorf("%s: seen for the first time is not %v", text, first)
			}
		}
	}
}

// A registry that is away is asked once for each schema, and nothing is said about the bytes.
func TestDecoderWithoutRegistry(t *testing.T) {
	asked := 0
	d := NewDecoder(schemaSource(func(context.Context, int32) (string, error) {
		asked++
		return "", errors.New("away")
	}), time.Millisecond)
	for range 3 {
		if err := d.Decode(t.Context(), []byte("\x00\x00\x00\x00\x07"), new(codecs.RawReading)); !errors.Is(err, ErrNoAnswer) {
			t.Error(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

type schemaSource func(context.Context, int32) (string, error)

func (s schemaSource) Schema(ctx context.Context, id int32) (string, error) { return s(ctx, id) }

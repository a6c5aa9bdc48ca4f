package dedup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	. "gantry/processors/processorstest"
	"gantry/processors/validate"
)

const (
	second = int64(1000)
	minute = 60 * second
)

// TestOutcomes: each reason of the contract, from a real record to the topic where it ends, and nothing ends twice.
func TestOutcomes(t *testing.T) {
	p := New(t, true)
	type sent struct {
		r          *kgo.Record
		what, want string
	}
	var all []sent
	add := func(what, want string, r *kgo.Record) *kgo.Record {
		all = append(all, sent{r, what, want})
		return r
	}
	at := Noon
	reading := func(change func(*codecs.RawReading)) *kgo.Record {
		at += 30 * second
		r := ReadingOf("s-1", at)
		change(&r)
		return p.Raw(r)
	}
	same := func(*codecs.RawReading) {}
	js := func(key, value string) *kgo.Record {
		return p.Place(&kgo.Record{Key: []byte(key), Value: []byte(value), Timestamp: time.UnixMilli(at + second)})
	}

	sensor := p.Metadata("s-1")
	first := add("Avro", "accepted", reading(same))
	add("an equal reading", "duplicate", p.Raw(ReadingOf("s-1", at)))
	other := ReadingOf("s-1", at)
	other.SpeedMPH.V++
	add("other values at the same time", "conflict", p.Raw(other))
	at += 30 * second
	add("JSON, coordinates from the metadata", "accepted", js("s-1", fmt.Sprintf(
		`{"sensor_id":"s-1","timestamp":%d,"speed_mph":50,"volume_vph":900.0,"occupancy_percent":5}`, at)))
	add("no speed, and no vehicle", "accepted", reading(func(r *codecs.RawReading) {
		r.SpeedMPH, r.VolumeVPH = codecs.Null[float64]{}, codecs.Some(int64(0))
	}))
	add("no speed, but vehicles", "missing_field", reading(func(r *codecs.RawReading) {
		r.SpeedMPH = codecs.Null[float64]{}
	}))
	add("speed", "speed_range", reading(func(r *codecs.RawReading) { r.SpeedMPH.V = 120.5 }))
	add("volume", "volume_range", reading(func(r *codecs.RawReading) { r.VolumeVPH.V = 20001 }))
	add("occupancy", "occupancy_range", reading(func(r *codecs.RawReading) { r.Occupancy.V = -0.5 }))
	add("place", "out_of_bounds", reading(func(r *codecs.RawReading) { r.Latitude.V = 40 }))
	old := reading(same)
	old.Timestamp = time.UnixMilli(at + 60*minute + 1)
	add("1 h and 1 ms old", "too_old", old)
	early := reading(same)
	early.Timestamp = time.UnixMilli(at - 5*minute - 1)
	add("5 min and 1 ms ahead", "in_future", early)
	add("a sensor without metadata", "unknown_sensor", p.Raw(ReadingOf("s-2", at)))
	add("empty sensor_id", "missing_field", js("s-1", fmt.Sprintf(`{"sensor_id":"","timestamp":%d,"speed_mph":5}`, at)))
	add("no timestamp", "missing_field", js("s-1", `{"sensor_id":"s-1","speed_mph":5}`))

	misplaced := reading(same)
	misplaced.Partition = (misplaced.Partition + 1) % int32(p.Topics.Partitions)
	add("another partition than the key's", "misrouted", misplaced)
	foreign := reading(same)
	foreign.Key = []byte("s-9")
	add("another key than the id", "misrouted", p.Place(foreign))
	keyless := reading(same)
	keyless.Key = nil
	add("null key", "misrouted", keyless)
	emptyKey := reading(same)
	emptyKey.Key = []byte{}
	add("empty key", "misrouted", emptyKey)

	add("null value", "undecodable", p.Place(&kgo.Record{Key: []byte("s-1"), Timestamp: time.UnixMilli(at)}))
	add("empty value", "undecodable", js("s-1", ""))
	add("no schema of this id", "undecodable", js("s-1", "\x00\x00\x00\x03\xe7abc"))
	torn := reading(same)
	torn.Value = torn.Value[:len(torn.Value)-1]
	add("cut off", "undecodable", torn)
	long := reading(same)
	long.Value = append(long.Value, 0)
	add("a byte left over", "undecodable", long)
	kind := reading(same)
	kind.Headers = []kgo.RecordHeader{Header(codecs.HeaderKind, "window")}
	add("another kind", "undecodable", kind)
	wrongID := p.Metadata("s-3")
	wrongID.Key = []byte("s-4")
	add("metadata of another id than its key", "undecodable", p.Place(wrongID))
	malformed := p.Metadata("s-3")
	malformed.Value = []byte(`{"sensor_id":"s-3"}`)
	add("metadata without a place", "undecodable", malformed)
	strayed := p.Metadata("s-3")
	strayed.Partition = (strayed.Partition + 1) % int32(p.Topics.Partitions)
	add("metadata on another partition", "misrouted", strayed)

	// The watermark moves on by 80 min, so that what arrived in time before it is late now.
	forgotten := ReadingOf("s-1", Noon+second)
	at = Noon + 80*minute
	add("80 min later", "accepted", p.Raw(ReadingOf("s-1", at)))
	add("its window is forgotten", "late", p.Raw(forgotten))

	removal := p.Metadata("s-1")
	removal.Value = nil
	afterwards := ReadingOf("s-1", at+minute)
	p.Produce(sensor)
	for _, s := range all {
		p.Produce(s.r)
	}
	p.Produce(removal, add("after its sensor was removed", "unknown_sensor", p.Raw(afterwards)))
	p.Start(t.TempDir())
	p.Await()

	outcomes := p.Outcomes()
	seen := make(map[string]bool)
	for _, s := range all {
		Expect(t, outcomes, s.r, s.want, s.what)
		seen[s.want] = true
		if got := outcomes[SourceOf(s.r)]; got.Record != nil && !got.Accepted {
			unchanged(t, s.what, s.r, got.Record)
		}
	}
	for _, r := range validate.Reasons() {
		if !seen[r.String()] {
			t.Errorf("no record is rejected for %v", r)
		}
	}
	if len(outcomes) != len(all) {
		t.Errorf("%d outcomes of %d records: metadata has none", len(outcomes), len(all))
	}
	accepted := outcomes[SourceOf(first)].Record
	wantHeaders := map[string]string{
		codecs.HeaderKind: "reading", codecs.HeaderSource: SourceOf(first),
		codecs.HeaderReceivedAt: strconv.FormatInt(first.Timestamp.UnixMilli(), 10),
	}
	if len(accepted.Headers) != len(wantHeaders) || string(accepted.Key) != "s-1" {
		t.Errorf("reading has key %q and headers %v", accepted.Key, accepted.Headers)
	}
	for k, want := range wantHeaders {
		if got, _ := HeaderOf(accepted, k); got != want {
			t.Errorf("reading has %s %q, want %q", k, got, want)
		}
	}
}

// unchanged: a reject carries key, value and headers as they came, a null as a null, and what Gantry says beside them.
func unchanged(t *testing.T, what string, raw, reject *kgo.Record) {
	t.Helper()
	if (raw.Key == nil) != (reject.Key == nil) || string(raw.Key) != string(reject.Key) {
		t.Errorf("%s: key %#v became %#v", what, raw.Key, reject.Key)
	}
	if (raw.Value == nil) != (reject.Value == nil) || string(raw.Value) != string(reject.Value) {
		t.Errorf("%s: value %#v became %#v", what, raw.Value, reject.Value)
	}
	for _, h := range raw.Headers {
		if got, ok := HeaderOf(reject, h.Key); !ok || got != string(h.Value) {
			t.Errorf("%s: header %s became %q", what, h.Key, got)
		}
	}
	reason, _ := HeaderOf(reject, codecs.HeaderReason)
	if detail, _ := HeaderOf(reject, codecs.HeaderDetail); !strings.HasPrefix(detail, reason+": ") {
		t.Errorf("%s: %s is %q for %s", what, codecs.HeaderDetail, detail, reason)
	}
	if at, _ := HeaderOf(reject, codecs.HeaderReceivedAt); at != strconv.FormatInt(raw.Timestamp.UnixMilli(), 10) {
		t.Errorf("%s: %s is %q", what, codecs.HeaderReceivedAt, at)
	}
	if n := len(raw.Headers) + 4; len(reject.Headers) != n {
		t.Errorf("%s: %d headers, want %d: %v", what, len(reject.Headers), n, reject.Headers)
	}
}

// TestUnkeyedRejects: what passes the loop is rejected with its original key, a null told from an empty one, and what
// has no sensor is rejected before it.
func TestUnkeyedRejects(t *testing.T) {
	p := New(t, false)
	var all []*kgo.Record
	for i, key := range [][]byte{nil, {}, []byte("whatever")} {
		fast := ReadingOf("s-1", Noon+int64(i)*30*second)
		fast.SpeedMPH.V = 500
		r := p.Raw(fast)
		r.Key, r.Partition = key, int32(i)
		r.Headers = []kgo.RecordHeader{Header("trace", "a b"), Header("empty", "")}
		bad := &kgo.Record{Topic: r.Topic, Partition: int32(i), Key: key, Timestamp: r.Timestamp}
		noID := &kgo.Record{Topic: r.Topic, Partition: int32(i), Key: key, Timestamp: r.Timestamp, Value: []byte("{}")}
		all = append(all, r, bad, noID)
	}
	p.Produce(p.Metadata("s-1"))
	p.Produce(all...)
	p.Start(t.TempDir())
	p.Await()
	outcomes := p.Outcomes()
	for i, r := range all {
		want := []string{"speed_range", "undecodable", "missing_field"}[i%3]
		what := fmt.Sprintf("record %d", i)
		Expect(t, outcomes, r, want, what)
		if got := outcomes[SourceOf(r)].Record; got != nil {
			unchanged(t, what, r, got)
		}
	}
}

// TestRedrive: a redriven record is judged by its first arrival, and a reason that is waived lets it pass; the same
// headers without the mark of a redrive mean nothing.
func TestRedrive(t *testing.T) {
	for _, keyed := range []bool{true, false} {
		t.Run(fmt.Sprintf("keyed=%v", keyed), func(t *testing.T) {
			p := New(t, keyed)
			received := strconv.FormatInt(Noon+minute, 10)
			later := time.UnixMilli(Noon + 24*60*minute)
			redrive := Header(codecs.HeaderRedrive, "traffic-raw/0/7")
			record := func(at int64, speed float64, headers ...kgo.RecordHeader) *kgo.Record {
				v := ReadingOf("s-1", at)
				v.SpeedMPH.V = speed
				r := p.Raw(v)
				r.Timestamp, r.Headers = later, headers
				return r
			}
			fresh := record(Noon, 60, redrive, Header(codecs.HeaderReceivedAt, received))
			stale := record(Noon+30*second, 60, Header(codecs.HeaderReceivedAt, received))
			waived := record(Noon+60*second, 150, redrive, Header(codecs.HeaderReceivedAt, received),
				Header(codecs.HeaderWaive, "speed_range"))
			unwaived := record(Noon+90*second, 150, redrive, Header(codecs.HeaderReceivedAt, received),
				Header(codecs.HeaderWaive, "volume_range"))
			p.Produce(p.Metadata("s-1"), fresh, stale, waived, unwaived)
			p.Start(t.TempDir())
			p.Await()
			outcomes := p.Outcomes()
			Expect(t, outcomes, fresh, "accepted", "redriven after a day")
			Expect(t, outcomes, stale, "too_old", "claims a first arrival, is not redriven")
			Expect(t, outcomes, waived, "accepted", "its reason is waived")
			Expect(t, outcomes, unwaived, "speed_range", "another reason is waived")
			if got := p.Results().Readings[SourceOf(fresh)].ReceivedAt; got != Noon+minute {
				t.Errorf("received_at of the redriven reading is %d, want that of its first arrival", got)
			}
		})
	}
}

// outage is a registry that does not answer for a while.
type outage struct {
	codecs.SchemaSource
	down  atomic.Bool
	asked chan struct{} // once, when somebody asked in vain
}

func (o *outage) Schema(ctx context.Context, id int32) (string, error) {
	if o.down.Load() {
		select {
		case o.asked <- struct{}{}:
		default:
		}
		return "", errors.New("connection refused")
	}
	return o.SchemaSource.Schema(ctx, id)
}

// TestRegistryOutage: while the registry is away, messages of known schemas go on up to the first of an unknown one,
// and that one waits; nothing is rejected for it, and afterwards everything is accepted in order.
func TestRegistryOutage(t *testing.T) {
	p := New(t, true)
	o := &outage{SchemaSource: p.Schemas, asked: make(chan struct{}, 1)}
	p.Schemas = o
	p.Start(t.TempDir())
	p.Produce(p.Metadata("s-1"), p.Raw(ReadingOf("s-1", Noon)))
	p.Await()

	o.down.Store(true)
	known := p.Raw(ReadingOf("s-1", Noon+30*second))
	p.Produce(known)
	Eventually(t, "a message of a known schema is accepted", func() bool {
		return p.Outcomes()[SourceOf(known)].Accepted
	})
	unknown := p.Raw(ReadingOf("s-1", Noon+60*second))
	id, err := register(t, p, `{"type":"record","name":"Other","fields":[
		{"name":"sensor_id","type":"string"},
		{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},
		{"name":"speed_mph","type":"double"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	v := codecs.AppendWireHeader(nil, id)
	v = append(v, "\x06s-1"...)
	v = appendZigzag(v, Noon+60*second)
	unknown.Value = append(v, 0, 0, 0, 0, 0, 0, 0x49, 0x40) // 50 mph
	behind := p.Raw(ReadingOf("s-1", Noon+90*second))
	p.Produce(unknown, behind)
	<-o.asked
	if n := len(p.Outcomes()); n != 2 {
		t.Errorf("%d outcomes during the outage, want 2", n)
	}
	o.down.Store(false)
	p.Await()
	outcomes := p.Outcomes()
	Expect(t, outcomes, unknown, "accepted", "waited for the registry")
	Expect(t, outcomes, behind, "accepted", "behind it")
}

func register(t *testing.T, p *Pipeline, schema string) (int32, error) {
	t.Helper()
	return p.Schemas.(*outage).SchemaSource.(interface {
		Register(ctx context.Context, subject, schema string) (int32, error)
	}).Register(t.Context(), "other-value", schema)
}

func appendZigzag(b []byte, v int64) []byte {
	u := uint64(v<<1) ^ uint64(v>>63)
	for u >= 0x80 {
		b, u = append(b, byte(u)|0x80), u>>7
	}
	return append(b, byte(u))
}

// TestHostile: whatever bytes arrive, as key, value or header, the stage goes on and each record has one outcome.
func TestHostile(t *testing.T) {
	for _, keyed := range []bool{true, false} {
		t.Run(fmt.Sprintf("keyed=%v", keyed), func(t *testing.T) {
			p := New(t, keyed)
			random := rand.New(rand.NewPCG(3, 4))
			junk := func(n int) []byte {
				if n = random.IntN(n); n == 0 && random.IntN(2) == 0 {
					return nil
				}
				b := make([]byte, n)
				for i := range b {
					b[i] = byte(random.Uint32())
				}
				return b
			}
			names := []string{
				codecs.HeaderKind, codecs.HeaderSource, codecs.HeaderReceivedAt, codecs.HeaderReason, codecs.HeaderRedrive,
				codecs.HeaderWaive, codecs.HeaderKey, codecs.HeaderOrdinal, "other", "",
			}
			good := codecs.AppendRaw(nil, p.RawSchema, new(ReadingOf("s-1", Noon)))
			var all []*kgo.Record
			for range 3000 {
				r := &kgo.Record{
					Topic: string(p.Topics.Raw), Partition: random.Int32N(int32(p.Topics.Partitions)), Key: junk(40),
					Timestamp: time.UnixMilli(Noon),
				}
				switch random.IntN(4) {
				case 0:
					r.Value = junk(200)
				case 1: // a schema that exists, and anything behind it
					r.Value = append(codecs.AppendWireHeader(nil, p.RawSchema), junk(60)...)
				case 2: // a good one with a byte changed
					r.Value = append([]byte(nil), good...)
					r.Value[random.IntN(len(good))] ^= 1 << random.IntN(8)
				default:
					r.Value = append([]byte(`{"sensor_id":"s-1","timestamp":`), junk(20)...)
				}
				for range random.IntN(4) {
					r.Headers = append(r.Headers, kgo.RecordHeader{Key: names[random.IntN(len(names))], Value: junk(30)})
				}
				all = append(all, r)
			}
			p.Produce(p.Metadata("s-1"))
			p.Produce(all...)
			last := p.Raw(ReadingOf("s-1", Noon+minute))
			p.Produce(last)
			m := p.Start(t.TempDir())
			p.Await()
			outcomes := p.Outcomes()
			for _, r := range all {
				if _, ok := outcomes[SourceOf(r)]; !ok {
					t.Fatalf("no outcome of %s: key %q value %q headers %q", SourceOf(r), r.Key, r.Value, r.Headers)
				}
			}
			Expect(t, outcomes, last, "accepted", "a good one behind them")
			if n := Counter(t, m.Metrics, "stream_processor_errors_total", "processor"); n != 0 {
				t.Errorf("the processor was stopped %v times", n)
			}
		})
	}
}

// TestMetadataAhead: a sensor's metadata lies behind a backlog in one partition, its readings lie in front in another.
// All of them are accepted, as metadata overtakes a backlog, and its second copy changes nothing.
func TestMetadataAhead(t *testing.T) {
	p := New(t, false)
	var backlog, readings []*kgo.Record
	for i := range int64(3000) {
		r := p.Raw(ReadingOf("s-1", Noon+i*second))
		r.Key, r.Partition = nil, 0
		backlog = append(backlog, r)
	}
	for i := range int64(20) {
		r := p.Raw(ReadingOf("s-2", Noon+i*30*second))
		r.Key, r.Partition = nil, 1
		readings = append(readings, r)
	}
	behind := p.Metadata("s-2")
	behind.Partition = 0
	malformed := p.Metadata("s-3")
	malformed.Partition, malformed.Value = 0, []byte("{}")
	p.Produce(p.Metadata("s-1"))
	p.Produce(backlog...)
	p.Produce(behind, malformed)
	p.Produce(readings...)
	m := p.Start(t.TempDir())
	p.Await()
	outcomes := p.Outcomes()
	for i, r := range readings {
		Expect(t, outcomes, r, "accepted", fmt.Sprintf("reading %d of the sensor behind the backlog", i))
	}
	Expect(t, outcomes, malformed, "undecodable", "metadata that is none")
	if n := Counter(t, m.Metrics, "stream_processor_messages_processed_total", "sensor"); n != 2 {
		t.Errorf("%v sensors were counted, want 2", n)
	}
}

// TestMetadataOfHeldPartition: a partition that is held back, because an older one waits, lets its metadata through
// also when that arrives in the meantime.
func TestMetadataOfHeldPartition(t *testing.T) {
	p := New(t, false)
	o := &outage{SchemaSource: p.Schemas, asked: make(chan struct{}, 1)}
	o.down.Store(true)
	p.Schemas = o
	waiting := p.Raw(ReadingOf("s-1", Noon)) // its schema is not known
	waiting.Partition = 0
	var held []*kgo.Record
	for i := range int64(10) {
		at := Noon + 60*minute + i*second
		held = append(held, &kgo.Record{
			Topic: string(p.Topics.Raw), Partition: 1, Timestamp: time.UnixMilli(at),
			Value: fmt.Appendf(nil, `{"sensor_id":"s-2","timestamp":%d,"speed_mph":50}`, at),
		})
	}
	p.Produce(p.Metadata("s-1"), waiting)
	p.Produce(held...)
	p.Start(t.TempDir())
	<-o.asked
	late := p.Metadata("s-2")
	late.Partition = 1
	p.Produce(late)
	Eventually(t, "the metadata has passed the loop", func() bool {
		for _, r := range p.Read(string(processors.DedupLoop)) {
			if source, _ := HeaderOf(r, codecs.HeaderSource); source == SourceOf(late) {
				return true
			}
		}
		return false
	})
	for _, r := range p.Read(string(processors.DedupLoop)) {
		if _, metadata := HeaderOf(r, codecs.HeaderKind); !metadata {
			t.Errorf("a reading has passed the loop: %s", r.Value)
		}
	}
	o.down.Store(false)
	p.Await()
	outcomes := p.Outcomes()
	for i, r := range append(held, waiting) {
		Expect(t, outcomes, r, "accepted", fmt.Sprintf("reading %d", i))
	}
}

// TestUnkeyedBacklogs: one sensor's readings of 100 minutes lie in all partitions, and one partition holds a hundred
// times as much of others besides. Kept in step, none is late; two members share the partitions.
func TestUnkeyedBacklogs(t *testing.T) {
	p := New(t, false)
	const samples = 200
	var readings, heavy []*kgo.Record
	for i := range int64(samples) {
		r := p.Raw(ReadingOf("s-1", Noon+i*30*second))
		r.Key, r.Partition = nil, int32(i)%int32(p.Topics.Partitions)
		readings = append(readings, r)
		if r.Partition == 0 {
			heavy = append(heavy, r)
			for j := range int64(100) {
				other := p.Raw(ReadingOf("s-2", Noon+i*30*second+j*1000))
				other.Key, other.Partition, other.Timestamp = nil, 0, r.Timestamp
				heavy = append(heavy, other)
			}
		}
	}
	p.Produce(p.Metadata("s-1"), p.Metadata("s-2"))
	for _, r := range readings {
		if r.Partition != 0 {
			p.Produce(r)
		}
	}
	p.Produce(heavy...)
	o := &outage{SchemaSource: p.Schemas} // nothing is routed before the partitions are shared
	o.down.Store(true)
	p.Schemas = o
	a, b := p.Start(t.TempDir()), p.Start(t.TempDir())
	Eventually(t, "both members have partitions", func() bool {
		return len(a.Dedup.Owned()) > 0 && len(b.Dedup.Owned()) > 0 && a.Dedup.Recovered() && b.Dedup.Recovered()
	})
	o.down.Store(false)
	p.Await()
	outcomes := p.Outcomes()
	for i, r := range readings {
		Expect(t, outcomes, r, "accepted", fmt.Sprintf("reading %d", i))
	}
}

// TestValueSize: the state of a 30-s sensor with all fields, two hours on, stays within its budget as it stands in the
// changelog, with the engine's framing.
func TestValueSize(t *testing.T) {
	const budgetDedup, budgetWindow = 500, 1500
	p := New(t, true)
	random := rand.New(rand.NewPCG(5, 6))
	records := []*kgo.Record{p.Metadata("717446")}
	for i := range int64(2 * 120) {
		r := ReadingOf("717446", Noon+i*30*second)
		r.SpeedMPH.V = 70 * random.Float64()
		r.VolumeVPH.V = random.Int64N(12000)
		r.Occupancy.V = 100 * random.Float64()
		r.Latitude.V, r.Longitude.V = 34.12345678901, -118.12345678901
		records = append(records, p.Raw(r))
	}
	p.Produce(records...)
	p.Start(t.TempDir())
	p.Await()
	for table, budget := range map[string]int{
		string(processors.DedupTable): budgetDedup, string(processors.WindowTable): budgetWindow,
	} {
		values := p.Read(table)
		size := len(values[len(values)-1].Value)
		t.Logf("%s: %d bytes a sensor, budget %d", table, size, budget)
		if size > budget {
			t.Errorf("%s: %d bytes a sensor, budget %d", table, size, budget)
		}
	}
}

// TestLargeMessages: what traffic-raw takes is carried onwards whole, however large its max.message.bytes is. A small
// batch may unpack to any size; such a message is a reject too, which is cut and says so, and what follows it goes on:
// once, one of 4 MB made the processor fail and be built anew for ever.
func TestLargeMessages(t *testing.T) {
	for _, keyed := range []bool{true, false} {
		t.Run(fmt.Sprintf("keyed=%v", keyed), func(t *testing.T) {
			p := New(t, keyed)
			p.TakeMessages(4 << 20)
			broken := func(n int, b string) *kgo.Record {
				r := p.Raw(ReadingOf("s-1", Noon))
				r.Value = bytes.Repeat([]byte(b), n)
				r.Headers = []kgo.RecordHeader{Header("trace", "a b")}
				return r
			}
			whole, bomb := broken(4<<20-1<<10, "x"), broken(10<<20, " ")
			padded := p.Raw(ReadingOf("s-1", Noon))
			padded.Value = append(bytes.Repeat([]byte(" "), 10<<20), codecs.AppendRawJSON(nil, new(ReadingOf("s-1", Noon)))...)
			last := p.Raw(ReadingOf("s-1", Noon+30*second))
			p.Produce(p.Metadata("s-1"))
			p.Produce(whole)
			sensor := p.Metadata("s-2")
			sensor.Value = append(bytes.Repeat([]byte(" "), 10<<20), sensor.Value...)
			p.ProduceCompressed(bomb, padded, sensor)
			p.Produce(last)
			p.Start(t.TempDir())
			p.Await()

			outcomes := p.Outcomes()
			Expect(t, outcomes, whole, "undecodable", "as large as traffic-raw takes")
			if got := outcomes[SourceOf(whole)].Record; !bytes.Equal(got.Value, whole.Value) {
				t.Errorf("of %d bytes %d are kept", len(whole.Value), len(got.Value))
			}
			Expect(t, outcomes, bomb, "undecodable", "10 MB of spaces")
			reject := outcomes[SourceOf(bomb)].Record
			detail, _ := HeaderOf(reject, codecs.HeaderDetail)
			if n := len(reject.Value); n < 1<<20 || !strings.Contains(detail, fmt.Sprintf("first %d bytes", n)) ||
				!strings.Contains(detail, SourceOf(bomb)) {
				t.Errorf("%d bytes of 10 MB are kept; the detail is %q", n, detail)
			}
			want := "accepted" // what need not be carried onwards may be of any size
			if !keyed {
				want = "undecodable"
			}
			Expect(t, outcomes, padded, want, "a reading behind 10 MB of spaces")
			times := 0 // metadata also goes ahead of a backlog, and is rejected in its place alone
			for _, r := range p.Read(string(p.Topics.Rejects)) {
				if source, _ := HeaderOf(r, codecs.HeaderSource); source == SourceOf(sensor) {
					times++
				}
			}
			if keyed && times != 0 || !keyed && times != 1 {
				t.Errorf("metadata behind 10 MB of spaces was rejected %d times", times)
			}
			Expect(t, outcomes, last, "accepted", "what follows")
		})
	}
}

package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors/processorstest"
	"gantry/processors/validate"
	"gantry/views/ledger"
)

// installation is a running pipeline with its queue of rejects.
type installation struct {
	*processorstest.Pipeline
	*Queue
	t *testing.T
}

func start(t *testing.T, keyed bool) *installation {
	t.Helper()
	p := processorstest.New(t, keyed)
	p.Start(t.TempDir())
	return &installation{Pipeline: p, Queue: open(t, p), t: t}
}

func open(t *testing.T, p *processorstest.Pipeline) *Queue {
	t.Helper()
	o := DefaultOptions()
	o.Topics, o.Client, o.Decoder = p.Topics, p.Kafka.Options(), NewDecoder(p.Schemas, 5*time.Second)
	q, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// redrive redrives what a request means, waits for the outcomes, and returns the verdicts by source.
func (in *installation) redrive(r Request) map[string]Verdict {
	in.t.Helper()
	verdicts, err := in.try(in.Queue, r)
	if err != nil {
		in.t.Fatal(err)
	}
	in.Await()
	return verdicts
}

func (in *installation) try(q *Queue, r Request) (map[string]Verdict, error) {
	s, err := q.Select(in.t.Context(), r.Filter)
	if err != nil {
		return nil, err
	}
	verdicts := make(map[string]Verdict)
	return verdicts, q.Redrive(in.t.Context(), s, r, func(v Verdict) error {
		verdicts[v.Reject.Source.String()] = v
		return nil
	})
}

// prove fails where the ledger of the topics does not add up.
func (in *installation) prove() *ledger.Report {
	in.t.Helper()
	o := ledger.DefaultVerifyOptions()
	o.Client, o.Ledger.Keyed = in.Kafka.Options(), in.Pipeline.Topics.Keyed
	o.Ledger.Decoder, o.Ledger.ParseSensor = NewDecoder(in.Schemas, 5*time.Second), codecs.ParseSensor
	report, err := ledger.Verify(in.t.Context(), o)
	if err != nil {
		in.t.Fatal(err)
	}
	if !report.OK() || report.Verdict != ledger.VerdictClean {
		report.WriteText(in.t.Output())
		in.t.Error("the ledger does not add up")
	}
	return report
}

// A message of each kind of reason is rejected, and redriven when what was wrong is mended, or waived. Each is accepted
// once, with its first arrival and a link to its reject; to redrive it again does nothing, and the ledger adds up.
func TestRedriveByReason(t *testing.T) {
	for _, keyed := range []bool{true, false} {
		t.Run(fmt.Sprintf("keyed=%v", keyed), func(t *testing.T) {
			in := start(t, keyed)
			minute := int64(60_000)
			reading := func(sensor string, at int64, change func(*codecs.RawReading)) *kgo.Record {
				r := processorstest.ReadingOf(sensor, processorstest.Noon+at)
				if change != nil {
					change(&r)
				}
				return in.Raw(r)
			}
			misrouted := reading("s-1", 0, nil)
			misrouted.Key = nil
			wrongPlace := reading("s-1", minute, nil)
			wrongPlace.Partition = (wrongPlace.Partition + 1) % int32(in.Pipeline.Topics.Partitions)
			unknown := reading("s-2", 0, nil)
			unknown.Headers = []kgo.RecordHeader{
				processorstest.Header("trace", "a"), processorstest.Header("gantry-feed", "f/1/0"),
			}
			fast := reading("s-1", 2*minute, func(r *codecs.RawReading) { r.SpeedMPH.V = 130 })
			old := reading("s-1", 0, nil)
			old.Timestamp = time.UnixMilli(processorstest.Noon + 90*minute)
			old.Value = codecs.AppendRaw(nil, in.RawSchema, new(processorstest.ReadingOf("s-1", processorstest.Noon+3*minute)))
			broken := in.Place(&kgo.Record{Key: []byte("s-1"), Value: []byte("{"), Timestamp: unknown.Timestamp})
			nobody := reading("s-1", 4*minute, func(r *codecs.RawReading) { r.SensorID = "" })
			all := []*kgo.Record{misrouted, wrongPlace, unknown, fast, old, broken, nobody}
			in.Produce(in.Metadata("s-1"))
			in.Produce(all...)
			in.Await()
			outcomes := in.Outcomes()
			for r, want := range map[*kgo.Record]string{
				unknown: "unknown_sensor", fast: "speed_range", old: "too_old", broken: "undecodable", nobody: "missing_field",
			} {
				processorstest.Expect(t, outcomes, r, want, "first")
			}
			in.Produce(in.Metadata("s-2"))
			in.Await()

			v := in.redrive(Request{Filter: Filter{Reasons: []validate.Reason{
				validate.ReasonMisrouted, validate.ReasonUnknownSensor, validate.ReasonUndecodable, validate.ReasonMissingField,
			}}})
			sent := []*kgo.Record{unknown}
			if keyed {
				sent = append(sent, misrouted, wrongPlace)
			}
			for _, r := range sent {
				in.accepted(v[processorstest.SourceOf(r)], r)
			}
			for _, r := range []*kgo.Record{broken, nobody} {
				if got := v[processorstest.SourceOf(r)]; got.Fate != FateRefused || got.Why == "" {
					t.Errorf("%s: %+v", r.Value, got)
				}
			}
			// Judged by its first arrival: it is as old as it was, unless that is waived.
			again := in.redrive(Request{Filter: Filter{Reasons: []validate.Reason{validate.ReasonTooOld}}})
			processorstest.Expect(t, in.Outcomes(), placed(again[processorstest.SourceOf(old)]), "too_old", "redriven")
			v = in.redrive(Request{
				Filter: Filter{Reasons: []validate.Reason{validate.ReasonSpeedRange}}, Waive: validate.ReasonSpeedRange,
			})
			in.accepted(v[processorstest.SourceOf(fast)], fast)

			before := in.Ends(string(in.Pipeline.Topics.Raw))
			for _, v := range in.redrive(Request{Filter: Filter{Reasons: []validate.Reason{
				validate.ReasonMisrouted, validate.ReasonUnknownSensor, validate.ReasonTooOld,
			}}}) {
				if v.Fate != FateRedriven && v.Fate != FateAgain {
					t.Errorf("twice: %v: %v %s", v.Reject.Source, v.Fate, v.Why)
				}
			}
			after := in.Ends(string(in.Pipeline.Topics.Raw))
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("redriving twice has written to traffic-raw: %v, then %v", before, after)
			}

			// The reject of the redrive is a request of its own, with another waiver.
			v = in.redrive(Request{
				Filter: Filter{Reasons: []validate.Reason{validate.ReasonTooOld}}, Waive: validate.ReasonTooOld,
			})
			second := placed(again[processorstest.SourceOf(old)])
			second.Value = old.Value
			got := v[processorstest.SourceOf(second)]
			in.accepted(got, second)
			if got.Reject.Origin.String() != processorstest.SourceOf(old) || got.Reject.ReceivedAt != old.Timestamp.UnixMilli() {
				t.Errorf("the chain does not lead to the first reject: %+v", got.Reject)
			}
			trace, err := in.Trace(t.Context(), sourceAt(old))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(trace.Redrives); n != 2 || trace.Redrives[0].Rejected == nil || trace.Redrives[1].Accepted == nil {
				t.Errorf("%+v", trace.Redrives)
			}
			in.prove()
		})
	}
}

// accepted fails where the redriven message has not become one reading, linked to its reject.
func (in *installation) accepted(v Verdict, origin *kgo.Record) {
	in.t.Helper()
	if v.Fate != FateSent {
		in.t.Errorf("%s: %v %s", processorstest.SourceOf(origin), v.Fate, v.Why)
		return
	}
	o := in.Outcomes()[v.Place.String()]
	if !o.Accepted {
		processorstest.Expect(in.t, in.Outcomes(), placed(v), "accepted", "redriven")
		return
	}
	var r codecs.Reading
	if err := codecs.DecodeReading(o.Record.Value, &r); err != nil {
		in.t.Fatal(err)
	}
	link, _ := processorstest.HeaderOf(o.Record, codecs.HeaderRedrive)
	if r.ReceivedAt != v.Reject.ReceivedAt || link != processorstest.SourceOf(origin) {
		in.t.Errorf("received_at %d, redrive of %q, not %d and %s", r.ReceivedAt, link, v.Reject.ReceivedAt,
			processorstest.SourceOf(origin))
	}
	for _, raw := range in.Pipeline.Read(string(in.Pipeline.Topics.Raw)) {
		if sourceAt(raw) != v.Place {
			continue
		}
		if _, fed := processorstest.HeaderOf(raw, "gantry-feed"); fed || !bytes.Equal(raw.Value, origin.Value) {
			in.t.Errorf("it was redriven as %q with %v", raw.Value, raw.Headers)
		}
	}
}

func sourceAt(r *kgo.Record) codecs.Source {
	return codecs.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
}

func placed(v Verdict) *kgo.Record {
	return &kgo.Record{Topic: v.Place.Topic, Partition: v.Place.Partition, Offset: v.Place.Offset}
}

// backlog gives an installation n rejects of sensors that are known by now.
func (in *installation) backlog(n int) {
	in.t.Helper()
	var records, sensors []*kgo.Record
	for i := range n {
		id := fmt.Sprintf("s-%d", i)
		records = append(records, in.Raw(processorstest.ReadingOf(id, processorstest.Noon)))
		sensors = append(sensors, in.Metadata(id))
	}
	in.Produce(records...)
	in.Await()
	in.Produce(sensors...)
	in.Await()
}

var unknownSensors = Request{Filter: Filter{Reasons: []validate.Reason{validate.ReasonUnknownSensor}}}

// once fails where not each of n rejects was redriven and accepted exactly once.
func (in *installation) once(n int) {
	in.t.Helper()
	in.Await()
	links := make(map[string]int)
	for _, r := range in.Pipeline.Read(string(in.Pipeline.Topics.Raw)) {
		if source, ok := processorstest.HeaderOf(r, codecs.HeaderRedrive); ok {
			links[source]++
		}
	}
	accepted := 0
	for _, o := range in.Outcomes() {
		if o.Accepted {
			accepted++
		}
	}
	for source, times := range links {
		if times != 1 {
			in.t.Errorf("%s was redriven %d times", source, times)
		}
	}
	if len(links) != n || accepted != n {
		in.t.Errorf("of %d rejects %d were redriven and %d accepted", n, len(links), accepted)
	}
	in.prove()
}

// A redriver that has looked, and found nothing, is overtaken by another that sends everything: the brokers refuse what
// the first one sends then. With an id of its own, or where it took the id only behind its look, it would send
// everything once more.
func TestRedriversAtOnce(t *testing.T) {
	const n = 40
	in := start(t, true)
	in.backlog(n)
	first := open(t, in.Pipeline)
	overtaken := false
	first.o.Progress = func(stage string, done, total int64) {
		if stage != StageRedrives || done < total || overtaken {
			return
		}
		overtaken = true
		if _, err := in.try(in.Queue, unknownSensors); err != nil {
			t.Errorf("the second: %v", err)
		}
	}
	if _, err := in.try(first, unknownSensors); !errors.Is(err, ErrFenced) || !overtaken {
		t.Errorf("the first: %v, overtaken %v", err, overtaken)
	}
	in.once(n)
}

// Somebody else's transaction on traffic-raw that is still open hides the redrives behind it from a reader of committed
// records. A redriver waits for its end, and gives up where that takes too long: it must not take what is hidden for
// what is not there.
func TestRedrivesBehindAnOpenTransaction(t *testing.T) {
	const n = 10
	in := start(t, true)
	in.backlog(n)
	other, err := kgo.NewClient(append(in.Kafka.Options(), kgo.TransactionalID("other"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	// A redriver has looked; only then the other one begins, and what the redriver commits stands behind that.
	in.half(t.Context(), func() {
		if err := other.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for p := range in.Pipeline.Topics.Partitions {
			r := &kgo.Record{Topic: string(in.Pipeline.Topics.Raw), Partition: int32(p), Value: []byte("never committed")}
			if err := other.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}, in.commit)
	impatient := open(t, in.Pipeline)
	impatient.o.Stall = 300 * time.Millisecond
	if _, err := in.try(impatient, unknownSensors); !errors.Is(err, errStalled) {
		t.Errorf("behind an open transaction: %v", err)
	}
	if err := other.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if _, err := in.try(in.Queue, unknownSensors); err != nil {
		t.Fatal(err)
	}
	in.once(n)
}

// A redriver that is killed between its look and its first record has sent nothing; one that is killed with a
// transaction open has sent nothing that anybody reads; one that is killed behind a commit has sent what it committed.
// The next redriver sends the rest.
func TestRedriverKilled(t *testing.T) {
	const n = 40
	for name, kill := range map[string]func(in *installation, ctx context.Context, cancel func()){
		"between look and send": func(in *installation, ctx context.Context, cancel func()) {
			q := open(in.t, in.Pipeline)
			s, err := q.Select(ctx, unknownSensors.Filter)
			if err != nil {
				in.t.Fatal(err)
			}
			q.o.Now = func() time.Time { cancel(); return time.Now() }
			if err := q.Redrive(ctx, s, unknownSensors, func(Verdict) error { return nil }); err == nil {
				in.t.Error("it was not killed")
			}
		},
		"in a transaction": func(in *installation, ctx context.Context, cancel func()) {
			in.half(ctx, func() {}, func(*batch) {})
		},
		"behind a commit": func(in *installation, ctx context.Context, cancel func()) {
			in.half(ctx, func() {}, in.commit)
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := start(t, true)
			in.backlog(n)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			kill(in, ctx, cancel)
			if _, err := in.try(in.Queue, unknownSensors); err != nil {
				t.Fatal(err)
			}
			in.once(n)
		})
	}
}

func (in *installation) commit(b *batch) {
	if err := b.end(in.t.Context(), kgo.TryCommit); err != nil {
		in.t.Error(err)
	}
}

// half writes half of the rejects in a transaction, with something before and behind it, and loses its connections.
func (in *installation) half(ctx context.Context, before func(), then func(*batch)) {
	in.t.Helper()
	s, err := in.Select(ctx, unknownSensors.Filter)
	if err != nil {
		in.t.Fatal(err)
	}
	client, err := in.takeOver(ctx)
	if err != nil {
		in.t.Fatal(err)
	}
	defer client.Close()
	x, err := in.search(ctx, s.Oldest)
	if err != nil {
		in.t.Fatal(err)
	}
	b := batch{q: in.Queue, client: client, request: unknownSensors}
	err = in.each(ctx, StageRejects, s, func(j *Reject) error {
		if v := unknownSensors.decide(j, x, in.Pipeline.Topics.Partitions); int64(len(b.records)) < s.Rejects/2 {
			return b.add(ctx, v)
		}
		return nil
	})
	if err != nil {
		in.t.Fatal(err)
	}
	before()
	if err := client.BeginTransaction(); err != nil {
		in.t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, b.records...).FirstErr(); err != nil {
		in.t.Fatal(err)
	}
	then(&b)
}

// Batches that do not all fit into the memory of one fetch come with the next ones, and nothing is missed.
func TestListWithinMemory(t *testing.T) {
	p := processorstest.New(t, true)
	p.TakeMessages(1 << 20)
	p.Kafka.BatchBytesMax = 1 << 20
	const rejects = 40
	for i := range int64(rejects) {
		p.ProduceCompressed(&kgo.Record{
			Topic: string(p.Topics.Rejects), Partition: int32(i) % int32(p.Topics.Partitions), Value: make([]byte, 300<<10),
			Headers: []kgo.RecordHeader{
				processorstest.Header(codecs.HeaderSource, codecs.Source{Topic: string(p.Topics.Raw), Offset: i}.String()),
				processorstest.Header(codecs.HeaderReceivedAt, "1"),
				processorstest.Header(codecs.HeaderReason, validate.ReasonUndecodable.String()),
			},
		})
	}
	q := open(t, p)
	s, err := q.Select(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	listed := 0
	err = q.List(t.Context(), s, func(Entry) error { listed++; return nil })
	if err != nil || s.Rejects != rejects || listed != rejects {
		t.Errorf("%d of %d rejects selected, %d listed: %v", s.Rejects, rejects, listed, err)
	}
}

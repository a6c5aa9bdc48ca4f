package suite

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/test/harness"
	"gantry/views/ledger"
)

// VerifyCopies: what somebody does to a copy of the topics, gantry verify finds: it ends with 1 and names the place. An
// untouched copy is proved. On servers that are shared, which are to be emptied for each copy, those cases are enough
// whose records are not as the pipeline writes them; GANTRY_LONG asks for all.
func (s *Suite) VerifyCopies(t *testing.T) {
	s.parallel(t)
	u := s.Reference(t)
	from := u.recording

	first, second := from.neighbours(t)
	reading := from.find(t, codecs.KindReading)
	window := from.find(t, codecs.KindWindow)
	place := func(r *kgo.Record) string {
		return codecs.Source{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}.String()
	}
	source := func(r *kgo.Record) string { return harness.Header(r, codecs.HeaderSource) }
	for _, tt := range []struct {
		name   string
		want   map[string]ledger.Kind // by place
		alter  func(r *kgo.Record) []*kgo.Record
		forget bool          // the groups' commits are not copied
		long   bool          // one broker is as good as another
		abort  []*kgo.Record // written in a transaction that is aborted: they are gone, and their offsets remain
	}{
		{name: "untouched", alter: unchanged},
		{name: "untouched, without the groups", forget: true, long: true, alter: unchanged},
		{
			name: "removed, without the groups", forget: true, long: true,
			want: map[string]ledger.Kind{source(reading): ledger.KindMissingOutcome},
			alter: func(r *kgo.Record) []*kgo.Record {
				if r == reading {
					return nil
				}
				return unchanged(r)
			},
		},
		{
			name: "removed, later offsets move up", long: true,
			want: map[string]ledger.Kind{source(reading): ledger.KindMissingOutcome},
			alter: func(r *kgo.Record) []*kgo.Record {
				if r == reading {
					return nil
				}
				return unchanged(r)
			},
		},
		{
			// The marker of the abort takes an offset, too: the place of a second record.
			name: "two removed, offsets remain", abort: []*kgo.Record{first, second}, alter: unchanged,
			want: map[string]ledger.Kind{
				source(first): ledger.KindMissingOutcome, source(second): ledger.KindMissingOutcome,
			},
		},
		{
			name: "altered", long: true, want: map[string]ledger.Kind{place(reading): ledger.KindUnfitOutcome},
			alter: func(r *kgo.Record) []*kgo.Record {
				if r == reading {
					return []*kgo.Record{faster(t, r)}
				}
				return unchanged(r)
			},
		},
		{
			name: "doubled with other content", long: true, want: map[string]ledger.Kind{
				codecs.Source{Topic: harness.EventsTopic, Partition: reading.Partition, Offset: reading.Offset + 1}.String():
				/**/ ledger.KindUnequalRepeat,
			},
			alter: func(r *kgo.Record) []*kgo.Record {
				if r == reading {
					return []*kgo.Record{r, faster(t, r)}
				}
				return unchanged(r)
			},
		},
		{
			name: "window changed", long: true, want: map[string]ledger.Kind{place(window): ledger.KindWindowDiffers},
			alter: func(r *kgo.Record) []*kgo.Record {
				if r == window {
					return []*kgo.Record{changed(t, r)}
				}
				return unchanged(r)
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.long && s.Alone {
				harness.Long(t)
			}
			to := s.Copies(t, u)
			defer to.Close()
			from.copy(t, to.Brokers, tt.alter, tt.abort, tt.forget)
			verify := func(flags ...string) (code int, stdout, stderr string) {
				return harness.Run(t, t.TempDir(), nil, append([]string{
					"verify", "--kafka.brokers", strings.Join(to.Brokers, ","), "--registry.url", to.RegistryURL,
					"--window.idleTimeout", "1s",
				}, flags...)...)
			}
			code, stdout, stderr := verify("--json")
			var report ledger.Report
			if err := json.Unmarshal([]byte(stdout), &report); err != nil {
				t.Fatalf("%d, %v: %s", code, err, stderr)
			}
			found := make(map[string]ledger.Kind)
			for _, x := range report.Exceptions {
				at := codecs.Source{Topic: x.Topic, Partition: x.Partition, Offset: x.Offset}.String()
				if kind, ok := tt.want[at]; ok && kind == x.Kind {
					found[at] = kind
				}
			}
			if want := min(len(tt.want), 1); code != want || !maps.Equal(found, tt.want) || report.OK() != (want == 0) {
				t.Errorf("exit code %d, found %v of %v among %v\n%s", code, found, tt.want, report.Exceptions, stderr)
			}
			_, text, _ := verify()
			for at := range tt.want {
				if !strings.Contains(text, at) {
					t.Errorf("%s is not named:\n%s", at, text)
				}
			}
		})
	}
}

func unchanged(r *kgo.Record) []*kgo.Record { return []*kgo.Record{r} }

func faster(t *testing.T, r *kgo.Record) *kgo.Record {
	t.Helper()
	var reading codecs.Reading
	if err := codecs.DecodeReading(r.Value, &reading); err != nil {
		t.Fatal(err)
	}
	reading.SpeedMPH.V += 0.5
	return with(t, r, func(schema int32) []byte { return codecs.AppendReading(nil, schema, &reading) })
}

func changed(t *testing.T, r *kgo.Record) *kgo.Record {
	t.Helper()
	var w codecs.WindowAggregate
	if err := codecs.DecodeWindow(r.Value, &w); err != nil {
		t.Fatal(err)
	}
	w.MessageCount++
	return with(t, r, func(schema int32) []byte { return codecs.AppendWindow(nil, schema, &w) })
}

// with is a copy of a record with another value.
func with(t *testing.T, r *kgo.Record, value func(schema int32) []byte) *kgo.Record {
	t.Helper()
	schema, _, err := codecs.SplitWire(r.Value)
	if err != nil {
		t.Fatal(err)
	}
	c := *r
	c.Value = value(schema)
	return &c
}

// find gives a record of a kind from the middle of traffic-events.
func (all *recording) find(t *testing.T, kind codecs.Kind) *kgo.Record {
	t.Helper()
	events := all.records[harness.EventsTopic]
	for _, r := range events[len(events)/3:] {
		if harness.Header(r, codecs.HeaderKind) == string(kind) {
			return r
		}
	}
	t.Fatalf("no %s", kind)
	return nil
}

// neighbours gives two readings of traffic-events that follow each other.
func (all *recording) neighbours(t *testing.T) (first, second *kgo.Record) {
	t.Helper()
	events := all.records[harness.EventsTopic]
	for i := len(events) / 3; i+1 < len(events); i++ {
		a, b := events[i], events[i+1]
		readings := harness.Header(a, codecs.HeaderKind) == string(codecs.KindReading) &&
			harness.Header(b, codecs.HeaderKind) == string(codecs.KindReading)
		if readings && a.Partition == b.Partition && a.Offset+1 == b.Offset {
			return a, b
		}
	}
	t.Fatal("no two readings follow each other")
	return nil, nil
}

// copy writes the recording to empty topics, each record as alter says, at its own partition and with its own timestamp.
func (all *recording) copy(
	t *testing.T, brokers []string, alter func(*kgo.Record) []*kgo.Record, abort []*kgo.Record, forget bool,
) {
	t.Helper()
	opts := append(processors.Kafka{Brokers: brokers}.Options(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	produce := func(records []*kgo.Record) {
		if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range topics {
		var batch []*kgo.Record
		for _, r := range all.records[topic] {
			if !slices.Contains(abort, r) {
				for _, c := range alter(r) {
					batch = append(batch, copyOf(c))
				}
				continue
			}
			produce(batch)
			batch = nil
			if r == abort[0] {
				aborted(t, opts, copyOf(r))
			}
		}
		produce(batch)
	}
	adm := kadm.NewClient(client)
	ends, err := adm.ListEndOffsets(t.Context(), topics...)
	if err != nil {
		t.Fatal(err)
	}
	for group, commits := range all.commits {
		if forget {
			break
		}
		at := make(kadm.Offsets)
		commits.Each(func(o kadm.Offset) {
			if end, ok := ends.Lookup(o.Topic, o.Partition); ok { // the loop is not copied
				o.At, o.LeaderEpoch = min(o.At, end.Offset), -1
				at.Add(o)
			}
		})
		if err := adm.CommitAllOffsets(t.Context(), group, at); err != nil {
			t.Fatal(err)
		}
	}
}

// copyOf is a record to produce. Its timestamp stays.
func copyOf(r *kgo.Record) *kgo.Record {
	return &kgo.Record{
		Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp,
	}
}

// aborted writes a record in a transaction that is aborted.
func aborted(t *testing.T, opts []kgo.Opt, r *kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(append(slices.Clone(opts), kgo.TransactionalID("copy"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
}

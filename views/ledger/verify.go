package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// VerifyOptions say where the topics are, and whose commits bound the proof.
type VerifyOptions struct {
	Ledger Options

	Client []kgo.Opt // how to reach the brokers: seeds, TLS, SASL

	DedupGroup  string // its commits on traffic-raw, or on the loop with raw.keyed: false, bound the range
	WindowGroup string // its commits on traffic-events bound which windows must be there
	LoopTopic   string // read only with raw.keyed: false

	// Progress is called from the reading goroutine, from time to time and at the end of each stage, with offsets read
	// and to read. It may be nil.
	Progress func(stage string, done, total int64)

	// Stall is how long the brokers may give nothing before the reading fails. A partition that never gets to its end
	// would be waited for without end otherwise.
	Stall time.Duration

	// ArchiveDue is after how long records are archived, at the latest: an archive that was never written may be so
	// while all records are younger.
	ArchiveDue time.Duration

	// Now tells the time. Where all records of a partition have been deleted, nothing tells when they were written,
	// except that it was longer ago than the topic's retention. Nothing else that is proved depends on it.
	Now func() time.Time
}

// DefaultVerifyOptions are those of the contract. Client, Ledger.Decoder and Ledger.ParseSensor remain to be set.
func DefaultVerifyOptions() VerifyOptions {
	return VerifyOptions{
		Ledger:      DefaultOptions(),
		DedupGroup:  "stream-processor-group-v2",
		WindowGroup: "stream-processor-window-v2",
		LoopTopic:   "stream-processor-group-v2-loop",
		Stall:       30 * time.Second,
		ArchiveDue:  15 * time.Minute,
		Now:         time.Now,
	}
}

// verifyTries is how often the topics are read anew because retention deleted what was being read.
const verifyTries = 3

// Verify reads the topics as they are now, read-committed, and proves them.
//
// traffic-raw is read first and the topics with the outcomes after it, so that the ledger need not keep any record; see
// Ledger for the memory that remains. What is written while Verify reads is not looked at. A report with exceptions is
// not an error: ask its OK. An error says that nothing was proved.
func Verify(ctx context.Context, o VerifyOptions) (*Report, error) {
	if err := o.Ledger.Validate(); err != nil {
		return nil, fmt.Errorf("options of the ledger: %w", err)
	}
	client, err := kgo.NewClient(o.Client...)
	if err != nil {
		return nil, fmt.Errorf("options of the client: %w", err)
	}
	defer client.Close()
	for try := 1; ; try++ {
		report, err := o.verify(ctx, kadm.NewClient(client))
		if !errors.Is(err, kerr.OffsetOutOfRange) || try == verifyTries {
			return report, err
		}
	}
}

func (o *VerifyOptions) verify(ctx context.Context, adm *kadm.Client) (*Report, error) {
	e, err := o.noteExtent(ctx, adm)
	if err != nil {
		return nil, err
	}
	l, err := New(o.Ledger, e.Extent)
	if err != nil {
		return nil, err
	}
	topics := &o.Ledger
	err = o.read(ctx, "raw records", map[string][]Span{topics.RawTopic: e.Raw}, func(r *kgo.Record) (bool, error) {
		return false, l.Raw(ctx, r)
	})
	if err != nil {
		return nil, err
	}
	outcomes := map[string][]Span{topics.EventsTopic: e.Events, topics.RejectsTopic: e.Rejects}
	if len(e.loop) > 0 {
		outcomes[o.LoopTopic] = e.loop
	}
	err = o.read(ctx, "outcomes", outcomes, func(r *kgo.Record) (bool, error) {
		switch r.Topic {
		case topics.EventsTopic:
			l.Event(r)
		case topics.RejectsTopic:
			l.Reject(r)
		default:
			l.Loop(r)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	return l.Close(), nil
}

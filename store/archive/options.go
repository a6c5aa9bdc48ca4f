package archive

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Options of a partition's archiver.
type Options struct {
	FlushInterval time.Duration // a batch is due this long after its first row
	FlushRows     int           // … or when it holds so many rows; it never holds more
	// ProgressInterval is after how long a batch is due that has no rows: silences and repeats alone. Its intent names
	// no file; it is there so that a restart does not read them again, and does not miss them once retention has
	// deleted them.
	ProgressInterval time.Duration
	RowGroupRows     int // rows of a Parquet row group, at most

	// IntentsKept are how many intents of a partition are kept, the newest ones. One is enough for the archive; the others
	// let ReadStatus count rows without opening files, and notice lost ones until their hour is sealed. Each flush of a
	// partition lists the intents of all of them.
	IntentsKept int

	Version string           // stands in created_by of each file
	Now     func() time.Time // the clock
	Rand    io.Reader        // what tells attempts to commit apart; it never fails
	Logger  *slog.Logger
	Metrics *Metrics // shared by the partitions of a process; none: not counted
}

// DefaultOptions are those of the contract's defaults, with the machine's clock.
func DefaultOptions() Options {
	return Options{
		FlushInterval:    30 * time.Second,
		FlushRows:        50_000,
		ProgressInterval: 10 * time.Minute,
		RowGroupRows:     65_536,
		IntentsKept:      300, // two and a half hours of flushes
		Version:          "dev",
		Now:              time.Now,
		Rand:             rand.Reader,
		Logger:           slog.New(slog.DiscardHandler),
	}
}

// batchesMax is how many full batches the partitions of a process hold together, at most.
const batchesMax = 10

// Bound makes the batches of many partitions smaller, so that what a process holds does not grow with their number: it
// is at most ten times FlushRows, and all of it while the file system is away.
func (o *Options) Bound(partitions int) {
	o.FlushRows = max(1, min(o.FlushRows, o.FlushRows*batchesMax/max(1, partitions)))
}

// Validate reports every value that is out of range.
func (o *Options) Validate() error {
	var errs []error
	check := func(ok bool, key string, value any, allowed string) {
		if !ok {
			errs = append(errs, fmt.Errorf("archive.%s is %v: allowed is %s", key, value, allowed))
		}
	}
	check(o.FlushInterval >= 100*time.Millisecond && o.FlushInterval <= time.Hour,
		"flushInterval", o.FlushInterval, "100ms to 1h")
	check(o.FlushRows >= 1 && o.FlushRows <= 10_000_000, "flushRows", o.FlushRows, "1 to 10000000")
	check(o.ProgressInterval >= o.FlushInterval && o.ProgressInterval <= 24*time.Hour,
		"progressInterval", o.ProgressInterval, "flushInterval to 24h")
	check(o.RowGroupRows >= 1, "rowGroupRows", o.RowGroupRows, "at least 1")
	check(o.IntentsKept >= 1, "intentsKept", o.IntentsKept, "at least 1")
	if o.Now == nil || o.Rand == nil || o.Logger == nil {
		errs = append(errs, errors.New("archive options need a clock, randomness and a logger: begin with DefaultOptions"))
	}
	return errors.Join(errs...)
}

package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/store/archive"
)

// VerifyArchive compares an archive with traffic-events as they are now, and changes neither. Instances may archive
// meanwhile: what is committed later is not looked at.
func VerifyArchive(ctx context.Context, o VerifyOptions, fsys archive.Reader) (*ArchiveReport, error) {
	client, err := kgo.NewClient(o.Client...)
	if err != nil {
		return nil, fmt.Errorf("options of the client: %w", err)
	}
	defer client.Close()
	for try := 1; ; try++ {
		report, err := o.verifyArchive(ctx, kadm.NewClient(client), fsys)
		if !errors.Is(err, kerr.OffsetOutOfRange) && !errors.Is(err, errMerged) && !errors.Is(err, errAhead) || try == verifyTries {
			return report, err
		}
	}
}

var (
	// errMerged says that files were merged while they were compared.
	errMerged = errors.New("files of the archive were merged meanwhile, again and again: wait for the compaction to end")
	// errAhead says that an hour was sealed with what was archived after the extents were read.
	errAhead = errors.New("an hour of the archive is sealed with more than its _intents say is archived: wait for the " +
		"compaction to end; if none runs, intents were deleted: restore the folder _intents")
)

func (o *VerifyOptions) verifyArchive(
	ctx context.Context, adm *kadm.Client, fsys archive.Reader,
) (*ArchiveReport, error) {
	// The archive first: what it holds was on the topic then.
	archived, err := archive.ReadArchived(fsys)
	if err != nil {
		return nil, err
	}
	if archived.Ahead() {
		return nil, errAhead
	}
	topic := o.Ledger.EventsTopic
	events, err := spans(ctx, adm, topic, nil)
	if err != nil {
		return nil, err
	}
	all, read := make([]ArchiveSpan, len(events)), make([]Span, len(events))
	for p, s := range events {
		all[p] = ArchiveSpan{Start: s.Start, End: s.End}
	}
	for _, x := range archived.Extents {
		if int(x.Partition) >= len(all) {
			return nil, fmt.Errorf("the archive holds partition %d, and %s has %d partitions", x.Partition, topic, len(all))
		}
		all[x.Partition].Archived, all[x.Partition].Holes = x.End, x.Holes
	}
	for p := range all {
		read[p] = all[p].read()
	}
	a, err := NewArchive(topic, all, archived.Manifests)
	if err != nil {
		return nil, err
	}
	if len(archived.Extents) == 0 {
		if err := o.checkEmpty(ctx, adm, a); err != nil {
			return nil, err
		}
	}
	err = o.read(ctx, "archived records", map[string][]Span{topic: read}, func(r *kgo.Record) (bool, error) {
		a.Event(r)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if err := o.readArchive(ctx, fsys, archived, a); err != nil {
		return nil, err
	}
	return a.Close(), nil
}

// checkEmpty says whether an archive in which nothing was ever archived may be so: before the first flush it may, and
// an archive of another name, or one that is not written, looks the same.
func (o *VerifyOptions) checkEmpty(ctx context.Context, adm *kadm.Client, a *Archive) error {
	due := o.Now().Add(-o.ArchiveDue)
	starts, err := adm.ListStartOffsets(ctx, a.topic)
	if err != nil {
		return fmt.Errorf("start of %s: %w", a.topic, err)
	}
	recent, err := adm.ListOffsetsAfterMilli(ctx, due.UnixMilli(), a.topic)
	if err == nil {
		err = recent.Error()
	}
	if err != nil {
		return fmt.Errorf("offsets of %s at %v: %w", a.topic, due, err)
	}
	var old int64
	recent.Each(func(l kadm.ListedOffset) {
		if start, ok := starts.Lookup(l.Topic, l.Partition); ok {
			old += max(0, l.Offset-start.Offset)
		}
	})
	if old > 0 {
		a.except(KindArchiveEmpty, "", "", "nothing was ever archived here, and %d records of %s are older than %v: "+
			"is archive.url that of the pipeline, and does a process with the role archive run?", old, a.topic, o.ArchiveDue)
	}
	return nil
}

func (o *VerifyOptions) readArchive(
	ctx context.Context, fsys archive.Reader, archived *archive.Archived, a *Archive,
) error {
	for _, name := range archived.Strays {
		a.Stray(name)
	}
	for n, f := range archived.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := readFile(fsys, f, a)
		if errors.Is(err, fs.ErrNotExist) {
			err = lookAgain(fsys, f, a, err)
		}
		if err != nil {
			return err
		}
		if o.Progress != nil {
			o.Progress("archive files", int64(n+1), int64(len(archived.Files)))
		}
	}
	return nil
}

// readFile hands the rows of a file over. One that was moved meanwhile lies under its name now; one that cannot be read
// as Parquet is an exception, and one that the file system does not give an error, which proves nothing.
func readFile(fsys archive.Reader, f archive.DataFile, a *Archive) error {
	data, err := fsys.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) && f.Path != f.Name {
		data, err = fsys.ReadFile(f.Name)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	if f.Sealed != nil {
		a.Seal(f.Name, f.Sealed, int64(len(data)), sha256.Sum256(data))
	}
	loaded := loadedFile{Reader: fsys, data: data}
	if f.Table == archive.TableRaw {
		hand(f.Name, archive.EachRaw(loaded, f.Path), a.Raw, a)
	} else {
		hand(f.Name, archive.EachAggregates(loaded, f.Path), a.Aggregates, a)
	}
	return nil
}

func hand[R any](name string, chunks iter.Seq2[[]R, error], take func(string, []R), a *Archive) {
	for rows, err := range chunks {
		if err != nil {
			a.Unreadable(name, err)
			return
		}
		take(name, rows)
	}
}

// lookAgain tells a file that is lost from a file that has been merged into another since it was listed.
func lookAgain(fsys archive.Reader, f archive.DataFile, a *Archive, missing error) error {
	archived, err := archive.ReadArchived(fsys)
	if err != nil {
		return err
	}
	for _, now := range archived.Files {
		switch {
		case now.Name != f.Name:
		case now.Lost:
			a.Lost(f.Name)
			return nil
		default:
			return missing
		}
	}
	return errMerged
}

// loadedFile answers with the content of a file that was read, so that what fails behind it is the content.
type loadedFile struct {
	archive.Reader
	data []byte
}

func (f loadedFile) ReadFile(string) ([]byte, error) { return f.data, nil }

package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

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
		if !errors.Is(err, kerr.OffsetOutOfRange) || try == verifyTries {
			return report, err
		}
	}
}

func (o *VerifyOptions) verifyArchive(
	ctx context.Context, adm *kadm.Client, fsys archive.Reader,
) (*ArchiveReport, error) {
	// The archive first: what it holds was on the topic then.
	extents, err := archive.Extents(fsys)
	if err != nil {
		return nil, err
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
	for _, x := range extents {
		if int(x.Partition) >= len(all) {
			return nil, fmt.Errorf("the archive holds partition %d, and %s has %d partitions", x.Partition, topic, len(all))
		}
		all[x.Partition].Archived, all[x.Partition].Holes = x.End, x.Holes
	}
	for p := range all {
		read[p] = all[p].read()
	}
	a, err := NewArchive(topic, all)
	if err != nil {
		return nil, err
	}
	err = o.read(ctx, "archived records", map[string][]Span{topic: read}, func(r *kgo.Record) (bool, error) {
		a.Event(r)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if err := o.readArchive(ctx, fsys, extents, a); err != nil {
		return nil, err
	}
	return a.Close(), nil
}

// dataFile is a data file by the name that its rows are judged by, and where it lies now.
type dataFile struct {
	table      archive.Table
	name, path string
}

// dataFiles lists what is in the archive's data folders, and the files of the newest commits that are still on their
// way there: a commit is one before they are moved.
func dataFiles(fsys archive.Reader, extents []archive.Extent) (files []dataFile, err error) {
	there := make(map[string]bool)
	for _, t := range archive.Tables {
		for name, err := range archive.Walk(fsys, t) {
			if err != nil {
				return nil, err
			}
			there[name] = true
			files = append(files, dataFile{t, name, name})
		}
	}
	for _, x := range extents {
		for _, m := range x.Files {
			waiting, err := fsys.Exists(m.Temp)
			if err != nil {
				return nil, fmt.Errorf("look for %s: %w", m.Temp, err)
			}
			if waiting && !there[m.Final] {
				files = append(files, dataFile{m.Table, m.Final, m.Temp})
			}
		}
	}
	return files, nil
}

func (o *VerifyOptions) readArchive(
	ctx context.Context, fsys archive.Reader, extents []archive.Extent, a *Archive,
) error {
	files, err := dataFiles(fsys, extents)
	if err != nil {
		return err
	}
	for n, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := readFile(fsys, f, a); err != nil {
			return err
		}
		if o.Progress != nil {
			o.Progress("archive files", int64(n+1), int64(len(files)))
		}
	}
	return nil
}

// readFile hands the rows of a file over. One that was moved meanwhile lies under its name now; one that cannot be read
// as Parquet is an exception, and one that the file system does not give an error, which proves nothing.
func readFile(fsys archive.Reader, f dataFile, a *Archive) error {
	data, err := fsys.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) && f.path != f.name {
		data, err = fsys.ReadFile(f.name)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	loaded := loadedFile{Reader: fsys, data: data}
	if f.table == archive.TableRaw {
		rows, err := archive.ReadRaw(loaded, f.path)
		if err != nil {
			a.Unreadable(f.name, err)
			return nil
		}
		a.Raw(f.name, rows)
		return nil
	}
	rows, err := archive.ReadAggregates(loaded, f.path)
	if err != nil {
		a.Unreadable(f.name, err)
		return nil
	}
	a.Aggregates(f.name, rows)
	return nil
}

// loadedFile answers with the content of a file that was read, so that what fails behind it is the content.
type loadedFile struct {
	archive.Reader
	data []byte
}

func (f loadedFile) ReadFile(string) ([]byte, error) { return f.data, nil }

package archive

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"
)

// merger merges the sorted files of one table into one, in a folder of this machine. It holds a few pages of fanIn
// files and one row group at a time; where there are more files, it merges in several passes.
type merger struct {
	fs           FS
	table        Table
	scratch      string
	fanIn        int
	rowGroupRows int
	version      string

	dropped int64 // superseded revisions
	merged  tally // of the last pass
}

// input is a file of the archive to be merged.
type input struct {
	name   string
	sha256 string // where a manifest knows it
}

// run is a sorted file: an input that is still in the archive, or a file that is already here.
type run struct {
	input
	here *os.File
}

// merge returns the merged file, which the caller closes.
func (m *merger) merge(ctx context.Context, inputs []input) (*os.File, error) {
	runs := make([]run, len(inputs))
	for i, in := range inputs {
		runs[i] = run{input: in}
	}
	defer func() { closeRuns(runs) }()
	for {
		n := min(len(runs), m.fanIn)
		out, err := m.pass(ctx, runs[:n])
		if err != nil {
			return nil, err
		}
		closeRuns(runs[:n])
		runs = append(runs[n:], run{here: out})
		if len(runs) == 1 {
			runs = nil
			return out, nil
		}
	}
}

func closeRuns(runs []run) {
	for _, r := range runs {
		if r.here != nil {
			_ = r.here.Close() // it was only read since, and has no name
		}
	}
}

// pass merges a few runs into a new one.
func (m *merger) pass(ctx context.Context, runs []run) (out *os.File, err error) {
	readers := make([]parquet.RowReader, len(runs))
	var rows int64
	for i := range runs {
		r := &runs[i]
		if r.here == nil {
			if r.here, err = m.fetch(ctx, r.input); err != nil {
				return nil, err
			}
		}
		reader, err := m.open(r.here)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", r.name, err)
		}
		defer reader.Close()
		readers[i] = reader
		rows += reader.NumRows()
	}
	if out, err = m.create(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = out.Close()
		}
	}()
	w := parquet.NewGenericWriter[any](out, writerOptions(m.table, m.rowGroupRows, m.version)...)
	before := m.dropped
	m.merged = tally{}
	order := m.order()
	if err := m.copy(ctx, w, parquet.MergeRowReaders(readers, order.compare), order); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("finish merged file: %w", err)
	}
	if got := m.merged.rows + m.dropped - before; got != rows {
		return nil, fmt.Errorf("merged %d rows of %d", got, rows)
	}
	return out, nil
}

// create makes a file that is gone when it is closed, whatever ends this process.
func (m *merger) create() (*os.File, error) {
	f, err := os.CreateTemp(m.scratch, "gantry-compact-*")
	if err != nil {
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("scratch file: %w", err), f.Close())
	}
	return f, nil
}

// fetch copies an input here, and checks that it is what its manifest says.
func (m *merger) fetch(ctx context.Context, in input) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := m.create()
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	err = m.fs.CopyTo(io.MultiWriter(f, sum), in.name)
	if err == nil && in.sha256 != "" && hex.EncodeToString(sum.Sum(nil)) != in.sha256 {
		err = fmt.Errorf("%w: its SHA-256 is not that of its manifest", ErrSealedFileDamaged)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", in.name, err), f.Close())
	}
	return f, nil
}

func (m *merger) open(f *os.File) (*parquet.GenericReader[any], error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(f, size)
	if err != nil {
		return nil, err
	}
	return parquet.NewGenericReader[any](file, schemas[m.table]), nil
}

// rowOrder compares rows of a table.
type rowOrder struct {
	compare func(a, b parquet.Row) int // by all that identifies a row
	window  func(a, b parquet.Row) int // by sensor and window, whatever the revision; nil for the table raw
}

func (m *merger) order() rowOrder {
	schema, columns := schemas[m.table], sortedBy[m.table]
	o := rowOrder{compare: schema.Comparator(sortingColumns(columns)...)}
	if m.table == TableAggregates {
		o.window = schema.Comparator(sortingColumns(columns[:2])...)
	}
	return o
}

// copy writes the rows that stay: all but those that a higher revision of their window follows. Rows alias the pages
// that they were read from, so that the one that waits for its successor over the end of a batch is a copy.
func (m *merger) copy(
	ctx context.Context, w *parquet.GenericWriter[any], from parquet.RowReader, order rowOrder,
) error {
	batch, stay := make([]parquet.Row, rowsPerWrite), make([]parquet.Row, 0, rowsPerWrite)
	var last parquet.Row
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.ReadRows(batch)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("merge rows: %w", err)
		}
		stay = stay[:0]
		for _, row := range batch[:n] {
			if last != nil {
				ok, err := m.stays(last, row, order)
				if err != nil {
					return err
				}
				if ok {
					stay = append(stay, last)
				}
			}
			last = row
		}
		end := errors.Is(err, io.EOF)
		if end && last != nil {
			stay = append(stay, last)
		}
		for _, row := range stay {
			m.merged.add(m.table, row)
		}
		if _, err := w.WriteRows(stay); err != nil {
			return fmt.Errorf("write merged rows: %w", err)
		}
		if end {
			return nil
		}
		last = last.Clone()
	}
}

// stays tells whether a row stays although this one follows it.
func (m *merger) stays(row, next parquet.Row, order rowOrder) (bool, error) {
	switch c := order.compare(row, next); {
	case c == 0:
		return false, fmt.Errorf("%w: %s", ErrRowDoubled, m.identity(row))
	case c > 0:
		return false, fmt.Errorf("%w: %s before %s", ErrUnsorted, m.identity(row), m.identity(next))
	}
	if order.window == nil || order.window(row, next) != 0 {
		return true, nil
	}
	m.dropped++
	return false, nil
}

func (m *merger) identity(row parquet.Row) string {
	columns := sortedBy[m.table]
	return fmt.Sprintf("sensor %.64q %s %s %s %d", row[0].ByteArray(), columns[1],
		time.UnixMilli(row[1].Int64()).UTC().Format(time.RFC3339Nano), columns[2], column(row, m.table, columns[2]))
}

// column is a required number of a row. A column of a map has any number of values, so that those behind it have no
// fixed place.
func column(row parquet.Row, t Table, name string) int64 {
	index := columnIndex(t, name)
	for _, v := range row[index:] {
		switch {
		case v.Column() != index:
		case v.Kind() == parquet.Int32:
			return int64(v.Int32())
		default:
			return v.Int64()
		}
	}
	return 0
}

// tally is what a manifest says of rows.
type tally struct {
	rows    int64
	minTime int64 // epoch milliseconds
	maxTime int64
	sources map[int32]*SourceExtent
}

var (
	sourcePartition = columnIndex(TableRaw, "source_partition")
	sourceOffset    = columnIndex(TableRaw, "source_offset")
)

func columnIndex(t Table, name string) int {
	leaf, _ := schemas[t].Lookup(name)
	return leaf.ColumnIndex
}

func (y *tally) add(t Table, row parquet.Row) {
	at := row[1].Int64()
	if y.rows == 0 {
		y.minTime, y.maxTime = at, at
	}
	y.minTime, y.maxTime = min(y.minTime, at), max(y.maxTime, at)
	y.rows++
	if t != TableRaw {
		return
	}
	partition, offset := row[sourcePartition].Int32(), row[sourceOffset].Int64()
	s := y.sources[partition]
	if s == nil {
		if y.sources == nil {
			y.sources = make(map[int32]*SourceExtent)
		}
		s = &SourceExtent{Partition: partition, First: offset, Last: offset}
		y.sources[partition] = s
	}
	s.First, s.Last = min(s.First, offset), max(s.Last, offset)
	s.Rows++
}

func (y *tally) extents() []SourceExtent {
	var list []SourceExtent
	for _, s := range y.sources {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b SourceExtent) int { return cmp.Compare(a.Partition, b.Partition) })
	return list
}

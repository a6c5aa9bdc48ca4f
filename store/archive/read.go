package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// ReadRaw returns the rows of a data file of the table raw, in the order of the file.
func ReadRaw(fsys Reader, name string) ([]RawRow, error) { return readRows[RawRow](fsys, name) }

// ReadAggregates returns the rows of a data file of the table aggregates, in the order of the file.
func ReadAggregates(fsys Reader, name string) ([]AggregateRow, error) {
	return readRows[AggregateRow](fsys, name)
}

func readRows[T any](fsys Reader, name string) (rows []T, err error) {
	data, err := fsys.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read archive file: %w", err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("read archive file %s: %w", name, err)
	}
	reader := parquet.NewGenericReader[T](file)
	defer func() { err = errors.Join(err, reader.Close()) }()
	rows = make([]T, file.NumRows())
	for n := 0; n < len(rows); {
		got, err := reader.Read(rows[n:])
		n += got
		if err != nil && !(errors.Is(err, io.EOF) && n == len(rows)) {
			return nil, fmt.Errorf("read archive file %s after row %d: %w", name, n, err)
		}
	}
	return rows, nil
}

// Walk yields the names of a table's data files, folder by folder in the order of their names, so by hour. It passes
// over what readers of data sets pass over: names that begin with "_" or ".", or do not end in .parquet. The first
// error ends it.
func Walk(fsys Reader, t Table) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { walk(fsys, t.Dir(), yield) }
}

func walk(fsys Reader, dir string, yield func(string, error) bool) bool {
	entries, err := fsys.List(dir)
	if err != nil {
		yield("", fmt.Errorf("list archive folder %s: %w", dir, err))
		return false
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		switch {
		case isData(e):
			if !yield(name, nil) {
				return false
			}
		case e.Dir && !isHidden(e):
			if !walk(fsys, name, yield) {
				return false
			}
		}
	}
	return true
}

func isHidden(e Entry) bool { return strings.HasPrefix(e.Name, "_") || strings.HasPrefix(e.Name, ".") }

// isData tells whether readers of a data set take an entry for one of its files.
func isData(e Entry) bool { return !e.Dir && !isHidden(e) && path.Ext(e.Name) == dataExt }

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
func ReadRaw(fsys Reader, name string) ([]RawRow, error) { return collect(EachRaw(fsys, name)) }

// ReadAggregates returns the rows of a data file of the table aggregates, in the order of the file.
func ReadAggregates(fsys Reader, name string) ([]AggregateRow, error) {
	return collect(EachAggregates(fsys, name))
}

// EachRaw yields the rows of a data file of the table raw, some thousand at a time, in the order of the file. The first
// error ends it.
func EachRaw(fsys Reader, name string) iter.Seq2[[]RawRow, error] {
	return eachRows[RawRow](fsys, name)
}

// EachAggregates is EachRaw for the table aggregates.
func EachAggregates(fsys Reader, name string) iter.Seq2[[]AggregateRow, error] {
	return eachRows[AggregateRow](fsys, name)
}

func collect[T any](chunks iter.Seq2[[]T, error]) (rows []T, err error) {
	for chunk, err := range chunks {
		if err != nil {
			return nil, err
		}
		rows = append(rows, chunk...)
	}
	return rows, nil
}

// rowsPerRead bounds how many rows of a file are held.
const rowsPerRead = 4096

func eachRows[T any](fsys Reader, name string) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		data, err := fsys.ReadFile(name)
		if err != nil {
			yield(nil, fmt.Errorf("read archive file: %w", err))
			return
		}
		file, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			yield(nil, fmt.Errorf("read archive file %s: %w", name, err))
			return
		}
		reader := parquet.NewGenericReader[T](file)
		defer reader.Close() // it holds memory alone
		for left := file.NumRows(); left > 0; {
			rows := make([]T, min(left, rowsPerRead)) // a new one each time: the reader would fill old rows' pointers
			n, err := reader.Read(rows)
			left -= int64(n)
			if err != nil && !(errors.Is(err, io.EOF) && left == 0) {
				yield(nil, fmt.Errorf("read archive file %s %d rows before its end: %w", name, left, err))
				return
			}
			if !yield(rows[:n], nil) {
				return
			}
		}
	}
}

func countRows(fsys Reader, name string) (int64, error) {
	data, err := fsys.ReadFile(name)
	if err != nil {
		return 0, fmt.Errorf("read archive file: %w", err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return 0, fmt.Errorf("read archive file %s: %w", name, err)
	}
	return file.NumRows(), nil
}

// Walk yields the names of a table's data files, folder by folder in the order of their names, so by hour. It passes
// over what readers of data sets pass over: names that begin with "_" or ".", or do not end in .parquet. The first
// error ends it.
func Walk(fsys Reader, t Table) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		walk(fsys, t.Dir(), func(name string, _ int64, err error) bool { return yield(name, err) })
	}
}

func walk(fsys Reader, dir string, yield func(name string, bytes int64, err error) bool) bool {
	entries, err := fsys.List(dir)
	if err != nil {
		yield("", 0, fmt.Errorf("list archive folder %s: %w", dir, err))
		return false
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		switch {
		case isData(e):
			if !yield(name, e.Size, nil) {
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

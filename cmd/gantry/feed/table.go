package feed

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gantry/codecs"
)

// table reads a CSV file with a header.
type table struct {
	path   string
	file   *os.File
	csv    *csv.Reader
	header []string
	record []string // the current row
}

func openTable(path string) (*table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	br := bufio.NewReaderSize(f, 1<<16)
	if mark, _ := br.Peek(3); string(mark) == "\xef\xbb\xbf" {
		br.Discard(3) // a byte order mark is no part of the first name
	}
	t := &table{path: path, file: f, csv: csv.NewReader(br)}
	t.csv.ReuseRecord = true
	header, err := t.csv.Read()
	if err != nil {
		f.Close()
		if errors.Is(err, io.EOF) {
			return nil, &FileError{Path: path, Message: "is empty"}
		}
		return nil, t.located(err)
	}
	for _, name := range header {
		t.header = append(t.header, strings.TrimSpace(name))
	}
	return t, nil
}

// next reads a row. It has as many fields as the header; io.EOF ends the file.
func (t *table) next() (err error) {
	t.record, err = t.csv.Read()
	return t.located(err)
}

func (t *table) located(err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return &FileError{Path: t.path, Line: p.Line, Column: p.Column, Message: p.Err.Error()}
	}
	return err
}

// column is the index of a header field, or -1.
func (t *table) column(name string) int { return slices.Index(t.header, name) }

// columns finds header fields, all of which must be there.
func (t *table) columns(names ...string) ([]int, error) {
	at := make([]int, len(names))
	for i, name := range names {
		if at[i] = t.column(name); at[i] < 0 {
			return nil, &FileError{Path: t.path, Line: 1, Message: fmt.Sprintf("the header has no column %s", name)}
		}
	}
	return at, nil
}

// fail is an error about the field at an index of the current row.
func (t *table) fail(i int, message string) error {
	line, column := t.csv.FieldPos(i)
	return &FileError{Path: t.path, Line: line, Column: column, Value: t.record[i], Message: message}
}

// text is the field at an index, "" for an index of -1: a column that the file does not have.
func (t *table) text(i int) string {
	if i < 0 {
		return ""
	}
	return strings.TrimSpace(t.record[i])
}

func (t *table) float(i int) (codecs.Null[float64], error) {
	s := t.text(i)
	if s == "" {
		return codecs.Null[float64]{}, nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return codecs.Null[float64]{}, t.fail(i, "is not a finite number")
	}
	return codecs.Some(v), nil
}

func (t *table) int(i int) (codecs.Null[int64], error) {
	s := t.text(i)
	if s == "" {
		return codecs.Null[int64]{}, nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return codecs.Null[int64]{}, t.fail(i, "is not a whole number")
	}
	return codecs.Some(v), nil
}

// time reads RFC 3339 or epoch milliseconds.
func (t *table) time(i int) (codecs.Null[int64], error) {
	s := t.text(i)
	if s == "" {
		return codecs.Null[int64]{}, nil
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return codecs.Some(ms), nil
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return codecs.Null[int64]{}, t.fail(i, "is neither RFC 3339 nor epoch milliseconds")
	}
	return codecs.Some(at.UnixMilli()), nil
}

func (t *table) Close() error { return t.file.Close() }

// onlyColumns refuses a header with other names: a misspelt column would be data that silently does not arrive.
func (t *table) onlyColumns(names ...string) error {
	for i, name := range t.header {
		if !slices.Contains(names, name) {
			return &FileError{
				Path: t.path, Line: 1, Value: name,
				Message: fmt.Sprintf("is no known column (column %d); known are %s", i+1, strings.Join(names, ", ")),
			}
		}
		if slices.Index(t.header, name) != i {
			return &FileError{Path: t.path, Line: 1, Value: name, Message: "is there twice"}
		}
	}
	return nil
}

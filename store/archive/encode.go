package archive

import (
	"bytes"
	"fmt"
	"runtime"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// codec compresses data files and intents. It keeps its encoders, megabytes each, for all partitions of a process.
var codec = zstd.Codec{Level: zstd.SpeedDefault}

// rowsPerWrite is how many rows are handed to the Parquet writer at once.
const rowsPerWrite = 256

// encoder turns the rows of one table into Parquet files, one after another. Its rows and its buffer are kept from file
// to file. A writer makes one file: the library's Reset clears the sorting columns, so that the second file would
// declare another order than the first.
type encoder struct {
	out     bytes.Buffer
	options []parquet.WriterOption
	rows    []parquet.Row
}

func newEncoder(t Table, opts *Options) *encoder {
	return &encoder{
		rows:    make([]parquet.Row, 0, rowsPerWrite),
		options: writerOptions(t, opts.RowGroupRows, opts.Version),
	}
}

// encoding bounds how many files of a process are encoded at once: a batch takes some 20 MB of buffers while it is, and
// more of them than processors would not be faster.
var encoding = make(chan struct{}, runtime.GOMAXPROCS(0))

// writerOptions are those of every data file.
func writerOptions(t Table, rowGroupRows int, version string) []parquet.WriterOption {
	return []parquet.WriterOption{
		schemas[t],
		parquet.Compression(&codec),
		parquet.MaxRowsPerRowGroup(int64(rowGroupRows)),
		// This declares the order; the rows come sorted.
		parquet.SortingWriterConfig(parquet.SortingColumns(sortingColumns(sortedBy[t])...)),
		parquet.CreatedBy("gantry", version, ""),
	}
}

func sortingColumns(names []string) []parquet.SortingColumn {
	columns := make([]parquet.SortingColumn, len(names))
	for i, name := range names {
		columns[i] = parquet.Ascending(name)
	}
	return columns
}

// encode returns the file that holds these rows, in this order. It is valid until the next call.
func encode[E entry](e *encoder, entries []E) ([]byte, error) {
	encoding <- struct{}{}
	defer func() { <-encoding }()
	e.out.Reset()
	w := parquet.NewGenericWriter[any](&e.out, e.options...)
	for len(entries) > 0 {
		n := min(len(entries), rowsPerWrite)
		rows := e.rows[:n]
		for i := range n {
			rows[i] = entries[i].appendRow(rows[i][:0])
		}
		if _, err := w.WriteRows(rows); err != nil {
			return nil, fmt.Errorf("write Parquet rows: %w", err)
		}
		entries = entries[n:]
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("finish Parquet file: %w", err)
	}
	return e.out.Bytes(), nil
}

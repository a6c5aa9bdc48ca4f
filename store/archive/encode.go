package archive

import (
	"bytes"
	"fmt"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// codec compresses data files and intents. It keeps its encoders, megabytes each, for all partitions of a process.
var codec = zstd.Codec{Level: zstd.SpeedDefault}

// rowsPerWrite is how many rows are handed to the Parquet writer at once.
const rowsPerWrite = 256

// encoder turns the rows of one table into Parquet files, one after another. Its writer, its rows and its buffer are
// kept from file to file, so that a flush allocates little and memory stays flat.
type encoder struct {
	out    bytes.Buffer
	writer *parquet.GenericWriter[any]
	rows   []parquet.Row
}

func newEncoder(t Table, opts *Options) *encoder {
	sorting := make([]parquet.SortingColumn, len(sortedBy[t]))
	for i, column := range sortedBy[t] {
		sorting[i] = parquet.Ascending(column)
	}
	e := &encoder{rows: make([]parquet.Row, 0, rowsPerWrite)}
	e.writer = parquet.NewGenericWriter[any](&e.out,
		schemas[t],
		parquet.Compression(&codec),
		parquet.MaxRowsPerRowGroup(int64(opts.RowGroupRows)),
		// This declares the order; the rows come sorted.
		parquet.SortingWriterConfig(parquet.SortingColumns(sorting...)),
		parquet.CreatedBy("gantry", opts.Version, ""),
	)
	return e
}

// encode returns the file that holds these rows, in this order. It is valid until the next call.
func encode[E entry](e *encoder, entries []E) ([]byte, error) {
	e.out.Reset()
	e.writer.Reset(&e.out)
	for len(entries) > 0 {
		n := min(len(entries), rowsPerWrite)
		rows := e.rows[:n]
		for i := range n {
			rows[i] = entries[i].appendRow(rows[i][:0])
		}
		if _, err := e.writer.WriteRows(rows); err != nil {
			return nil, fmt.Errorf("write Parquet rows: %w", err)
		}
		entries = entries[n:]
	}
	if err := e.writer.Close(); err != nil {
		return nil, fmt.Errorf("finish Parquet file: %w", err)
	}
	return e.out.Bytes(), nil
}

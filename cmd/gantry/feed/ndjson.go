package feed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gantry/codecs"
)

// lineBytesMax is the longest line of NDJSON: a record of it must fit into a round.
const lineBytesMax = roundBytesMax - 1024

// ndjson gives a row for each line that is not empty. A line that is no reading with an id and a time is published as
// it is.
type ndjson struct {
	arrivals
	path    string
	file    *os.File
	lines   *bufio.Scanner
	decoder codecs.RawDecoder
	line    int
	number  int64
}

func openNDJSON(path string) (Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	n := &ndjson{path: path, file: f, lines: bufio.NewScanner(f), number: -1}
	n.lines.Buffer(make([]byte, 0, 1<<16), lineBytesMax)
	return n, nil
}

func (n *ndjson) Next() (Row, error) {
	for n.lines.Scan() {
		n.line++
		line := bytes.TrimSuffix(n.lines.Bytes(), []byte("\r"))
		if len(line) == 0 {
			continue
		}
		n.number++
		row := Row{Number: n.number}
		err := n.decoder.Decode(line, &row.Reading)
		row.Reading.SensorID = strings.Clone(row.Reading.SensorID) // it aliases the scanner's buffer
		if err != nil {
			row.Reading = codecs.RawReading{}
		}
		if row.Reading.SensorID == "" || !row.Reading.Timestamp.Valid {
			row.Verbatim = line
		}
		row.Arrival = n.of(row.Reading.Timestamp)
		return row, nil
	}
	if err := n.lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return Row{}, &FileError{
			Path: n.path, Line: n.line + 1,
			Message: fmt.Sprintf("is longer than %d bytes", lineBytesMax),
		}
	} else if err != nil {
		return Row{}, fmt.Errorf("read %s: %w", n.path, err)
	}
	return Row{}, io.EOF
}

func (n *ndjson) Close() error { return n.file.Close() }

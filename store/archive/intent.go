package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
)

// ErrIntentCorrupt reports an intent whose bytes are not what was written. A commit is never half visible, so this is
// damage to the storage and not a crash: whether its files have reached the data folders cannot be told from it. The
// partition stays closed. Restore the intent, or compare the partition's data files from its start offset on with
// traffic-events, and remove both.
var ErrIntentCorrupt = errors.New("an intent of the archive is damaged")

// intentID is chosen at random for each attempt to commit.
type intentID [16]byte

func newIntentID(random io.Reader) (id intentID, err error) {
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return id, fmt.Errorf("choose the id of an intent: %w", err)
	}
	return id, nil
}

// Hole is a range of offsets from ≤ offset < to of traffic-events that retention deleted before they were archived.
type Hole struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// fileEntry is a data file of an intent.
type fileEntry struct {
	table Table
	temp  string
	final string
	rows  int64
	bytes int64
	crc   uint32 // CRC-32C of the content
}

// intent is a commit: from its creation on, the offsets start ≤ offset < end of the partition are archived in its
// files, whose renames anybody may repeat. It holds all that the next batch depends on.
type intent struct {
	id         intentID
	partition  int32
	start, end int64
	files      []fileEntry
	holes      []Hole // all that are known of the partition
	marks      map[string]mark
}

// Layout of an intent: magic, format version, the zstd-compressed body, CRC-32C of all before it, little endian.
// Numbers in the body are varints, texts are length and bytes.
const (
	intentMagic   = "GINT"
	intentVersion = 1
	intentHeadLen = len(intentMagic) + 1
	crcLen        = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

func (in *intent) encode() ([]byte, error) {
	packed, err := codec.Encode(nil, in.appendBody(nil))
	if err != nil {
		return nil, fmt.Errorf("compress intent: %w", err)
	}
	b := append([]byte(intentMagic), intentVersion)
	b = append(b, packed...)
	return binary.LittleEndian.AppendUint32(b, checksum(b)), nil
}

func decodeIntent(data []byte) (*intent, error) {
	if len(data) < intentHeadLen+crcLen || string(data[:len(intentMagic)]) != intentMagic {
		return nil, fmt.Errorf("%w: %d bytes that do not begin as an intent", ErrIntentCorrupt, len(data))
	}
	body, sum := data[:len(data)-crcLen], binary.LittleEndian.Uint32(data[len(data)-crcLen:])
	if checksum(body) != sum {
		return nil, fmt.Errorf("%w: its checksum does not match", ErrIntentCorrupt)
	}
	if v := data[len(intentMagic)]; v != intentVersion {
		return nil, fmt.Errorf("intent of format version %d: this program reads version %d", v, intentVersion)
	}
	body, err := codec.Decode(nil, body[intentHeadLen:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIntentCorrupt, err)
	}
	return decodeBody(body)
}

func (in *intent) appendBody(b []byte) []byte {
	b = append(b, in.id[:]...)
	b = binary.AppendUvarint(b, uint64(in.partition))
	b = binary.AppendUvarint(b, uint64(in.start))
	b = binary.AppendUvarint(b, uint64(in.end))
	b = binary.AppendUvarint(b, uint64(len(in.files)))
	for _, f := range in.files {
		b = append(b, byte(f.table))
		b = appendText(appendText(b, f.temp), f.final)
		b = binary.AppendUvarint(b, uint64(f.rows))
		b = binary.AppendUvarint(b, uint64(f.bytes))
		b = binary.LittleEndian.AppendUint32(b, f.crc)
	}
	b = binary.AppendUvarint(b, uint64(len(in.holes)))
	for _, h := range in.holes {
		b = binary.AppendUvarint(b, uint64(h.From))
		b = binary.AppendUvarint(b, uint64(h.To))
	}
	b = binary.AppendUvarint(b, uint64(len(in.marks)))
	for _, id := range slices.Sorted(maps.Keys(in.marks)) {
		m := in.marks[id]
		b = appendText(b, id)
		for _, c := range []counter{m.reading, m.window} {
			b = binary.AppendUvarint(b, uint64(c.last))
			b = binary.AppendUvarint(b, uint64(c.holes))
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeBody is total: it returns an error for whatever is not a body, and allocates in proportion to its input.
func decodeBody(body []byte) (*intent, error) {
	r := bodyReader{b: body}
	in := &intent{}
	copy(in.id[:], r.take(len(in.id)))
	in.partition = int32(r.number(1<<31 - 1))
	in.start, in.end = r.offset(), r.offset()
	for range r.count() {
		f := fileEntry{table: Table(r.number(tableCount - 1)), temp: r.text(), final: r.text()}
		f.rows, f.bytes = r.offset(), r.offset()
		if crc := r.take(crcLen); crc != nil {
			f.crc = binary.LittleEndian.Uint32(crc)
		}
		in.files = append(in.files, f)
		if r.err != nil {
			break
		}
	}
	for range r.count() {
		in.holes = append(in.holes, Hole{From: r.offset(), To: r.offset()})
		if r.err != nil {
			break
		}
	}
	sensors := r.count()
	in.marks = make(map[string]mark, sensors)
	for range sensors {
		id := r.text()
		in.marks[id] = mark{id: id, reading: r.counter(), window: r.counter()}
		if r.err != nil {
			break
		}
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = errors.New("bytes are left over")
	}
	if r.err == nil && in.start >= in.end {
		r.err = errors.New("it holds no offsets")
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIntentCorrupt, r.err)
	}
	return in, nil
}

// bodyReader reads a body; after the first error its methods return zero values.
type bodyReader struct {
	b   []byte
	err error
}

func (r *bodyReader) fail(err error) {
	if r.err == nil {
		r.err, r.b = err, nil
	}
}

func (r *bodyReader) number(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit {
		r.fail(errors.New("a number is cut off or too large"))
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *bodyReader) offset() int64 { return int64(r.number(1<<63 - 1)) }

// count reads how many items follow; each takes at least a byte.
func (r *bodyReader) count() int { return int(r.number(uint64(len(r.b)))) }

func (r *bodyReader) counter() counter { return counter{last: r.offset(), holes: r.offset()} }

func (r *bodyReader) text() string { return string(r.take(r.count())) }

func (r *bodyReader) take(n int) []byte {
	if n > len(r.b) {
		r.fail(errors.New("it ends early"))
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

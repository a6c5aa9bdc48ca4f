package ledger

import (
	"hash/maphash"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// abridgedBytesMin is the size of the smallest message that a reject may hold a part of: no topic takes less.
const abridgedBytesMin = 64 << 10

// outline is what is remembered of a large message, so that a part of it can be told from an altered one: 8 bytes for
// each 4 KiB.
type outline struct {
	receivedAt int64
	key, value outlineText
}

// outlineText is a text as the digests of its blocks, of which the last may be short.
type outlineText struct {
	bytes  int
	blocks []uint64
}

func (l *Ledger) outline(key, value []byte, receivedAt int64) *outline {
	return &outline{receivedAt: receivedAt, key: l.hash.blocks(key), value: l.hash.blocks(value)}
}

func (d *digester) blocks(b []byte) outlineText {
	t := outlineText{bytes: len(b)}
	for ; len(b) > 0; b = b[min(len(b), codecs.AbridgedBlock):] {
		t.blocks = append(t.blocks, maphash.Bytes(d.seed, b[:min(len(b), codecs.AbridgedBlock)]))
	}
	return t
}

// holds tells whether other is the beginning of the text: whole blocks of it, or all of it.
func (t *outlineText) holds(other *outlineText) bool {
	if other.bytes > t.bytes || other.bytes < t.bytes && other.bytes%codecs.AbridgedBlock != 0 {
		return false
	}
	for i, b := range other.blocks {
		if b != t.blocks[i] {
			return false
		}
	}
	return true
}

// part is what an abridged reject holds of its message.
type part struct {
	*outline
	wholeBytes int // of the value that it says it is cut from
}

// partOf reads an abridged reject; nil where the reject does not say that it is one.
func (l *Ledger) partOf(r *kgo.Record, receivedAt int64) *part {
	text, ok := header(r, codecs.HeaderAbridged)
	if !ok {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		n = -1 // no value has as many bytes
	}
	return &part{outline: l.outline(r.Key, r.Value, receivedAt), wholeBytes: n}
}

// beginning tells whether p is a beginning of the whole message, as far as one may be cut.
func (p *part) beginning(whole *outline) bool {
	return whole != nil && p.receivedAt == whole.receivedAt && p.wholeBytes == whole.value.bytes &&
		whole.key.holds(&p.key) && whole.value.holds(&p.value)
}

package processors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hole is a range of offsets From ≤ offset < To of an input partition that were deleted before the group read them, and
// when the group noticed. Nothing else remembers it: their records are gone, and the committed offset lies behind them.
// So holes are kept beside that offset, as metadata of the commit that passes them.
type Hole struct {
	From, To int64
	At       time.Time // to the millisecond
}

// Between tells whether records between an offset that was applied, -1 for none, and another one may lie in the hole.
func (h Hole) Between(applied, offset int64) bool { return applied < h.To-1 && h.To <= offset }

// holesMax bounds the holes that are kept of a partition, the newest, so that the metadata stays below the 4096 bytes
// that brokers take.
const holesMax = 48

const holesPrefix = "deleted_unread="

// addHole adds a hole to those known of a partition. One that overlaps the last one is the same, noticed again after a
// crash, and perhaps grown.
func addHole(holes []Hole, h Hole) []Hole {
	holes = slices.Clone(holes) // batches hold the old ones
	if n := len(holes); n > 0 && h.From <= holes[n-1].To {
		holes[n-1].To = max(holes[n-1].To, h.To)
		return holes
	}
	holes = append(holes, h)
	return holes[max(0, len(holes)-holesMax):]
}

// withHoles appends holes to the metadata of a commit.
func withHoles(metadata string, holes []Hole) string {
	if len(holes) == 0 {
		return metadata
	}
	texts := make([]string, len(holes))
	for i, h := range holes {
		texts[i] = fmt.Sprintf("%d-%d@%d", h.From, h.To, h.At.UnixMilli())
	}
	return strings.TrimSpace(metadata + " " + holesPrefix + strings.Join(texts, ","))
}

// ParseHoles reads the holes from the metadata of a commit, whoever has committed it.
func ParseHoles(metadata string) (holes []Hole) {
	text, ok := metadataField(metadata, holesPrefix)
	if !ok {
		return nil
	}
	for _, t := range strings.Split(text, ",") {
		offsets, at, _ := strings.Cut(t, "@")
		from, to, _ := strings.Cut(offsets, "-")
		var h Hole
		var err [3]error
		h.From, err[0] = strconv.ParseInt(from, 10, 64)
		h.To, err[1] = strconv.ParseInt(to, 10, 64)
		var ms int64
		ms, err[2] = strconv.ParseInt(at, 10, 64)
		if err == [3]error{} && 0 <= h.From && h.From < h.To {
			h.At = time.UnixMilli(ms)
			holes = append(holes, h)
		}
	}
	return holes
}

// metadataField returns what follows a prefix in one of the fields of metadata, which spaces part.
func metadataField(metadata, prefix string) (value string, ok bool) {
	for _, field := range strings.Fields(metadata) {
		if value, ok = strings.CutPrefix(field, prefix); ok {
			return value, true
		}
	}
	return "", false
}

package ledger

import (
	"encoding/binary"
	"hash/maphash"
	"math"

	"gantry/codecs"
)

// digester computes digests of records and of their fields. Fields are written with their lengths and with a mark for
// null, so that different fields never make equal bytes.
type digester struct {
	seed maphash.Seed
	buf  []byte
}

func newDigester() digester { return digester{seed: maphash.MakeSeed()} }

// sum returns the digest of what was written since begin.
func (d *digester) sum() uint32 {
	v := maphash.Bytes(d.seed, d.buf)
	return uint32(v ^ v>>32)
}

func (d *digester) begin() { d.buf = d.buf[:0] }

func (d *digester) long(v int64) { d.buf = binary.LittleEndian.AppendUint64(d.buf, uint64(v)) }

// double writes -0 as 0: they are equal as numbers.
func (d *digester) double(v float64) { d.long(int64(math.Float64bits(v + 0))) }

func (d *digester) bytes(b []byte) {
	if b == nil {
		d.long(-1)
		return
	}
	d.long(int64(len(b)))
	d.buf = append(d.buf, b...)
}

func (d *digester) string(s string) {
	d.long(int64(len(s)))
	d.buf = append(d.buf, s...)
}

func (d *digester) mark(valid bool) bool {
	if valid {
		d.buf = append(d.buf, 1)
	} else {
		d.buf = append(d.buf, 0)
	}
	return valid
}

func (d *digester) nullDouble(v codecs.Null[float64]) {
	if d.mark(v.Valid) {
		d.double(v.V)
	}
}

func (d *digester) nullInt(v codecs.Null[int32]) {
	if d.mark(v.Valid) {
		d.long(int64(v.V))
	}
}

func (d *digester) nullString(v codecs.Null[string]) {
	if d.mark(v.Valid) {
		d.string(v.V)
	}
}

// fields digests what a reading takes from its raw record, and from metadata where state says that it is known.
func (d *digester) fields(r *codecs.Reading, state slotState) uint32 {
	d.begin()
	d.string(r.SensorID)
	d.long(r.Timestamp)
	d.nullDouble(r.SpeedMPH)
	d.nullInt(r.VolumeVPH)
	d.nullDouble(r.Occupancy)
	d.long(r.ReceivedAt)
	if state&slotPlaced != 0 {
		d.double(r.Latitude)
		d.double(r.Longitude)
	}
	if state&slotEnriched != 0 {
		d.nullString(r.Freeway)
		d.nullString(r.Direction)
		d.nullInt(r.Lanes)
		d.nullInt(r.IntervalS)
	}
	return d.sum()
}

// rejected digests what a reject takes from its raw record.
func (d *digester) rejected(key, value []byte, receivedAt int64) uint32 {
	d.begin()
	d.bytes(key)
	d.bytes(value)
	d.long(receivedAt)
	return d.sum()
}

// content digests a record with the headers that belong to its identity and content.
func (d *digester) content(key, value []byte, headers ...string) uint32 {
	d.begin()
	d.bytes(key)
	d.bytes(value)
	for _, h := range headers {
		d.string(h)
	}
	return d.sum()
}

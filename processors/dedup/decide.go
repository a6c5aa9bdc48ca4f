package dedup

import (
	"fmt"

	"gantry/codecs"
	"gantry/processors/validate"
)

// Arrival is what a verdict depends on beside the reading: where and when its record came in.
type Arrival struct {
	// Source is the place of the raw record. It identifies the outcome; no verdict depends on it.
	Source codecs.Source

	// ReceivedAt, in epoch milliseconds, is the timestamp of the raw record, or of the first arrival of a redriven one.
	// It is what the reading's age is measured against, and its received_at.
	ReceivedAt int64

	// Misrouted says what is wrong with the record's key or partition, and what to do. Empty where nothing is wrong.
	Misrouted string

	// Waive lets a redriven reading pass in spite of this one reason. Only a validate.Reason that is Waivable has an
	// effect. A waived range still asks for a finite number, and for a volume that fits an int32.
	Waive validate.Reason
}

// Decision is what becomes of a reading.
type Decision struct {
	Accepted bool
	Reading  codecs.Reading  // the accepted reading, enriched and numbered; its SensorID is that of the raw reading
	Reason   validate.Reason // of the first rule that failed; validate.ReasonNone where accepted
	Detail   string          // every rule that failed, readable; at most about 2 KB
}

// Decide judges a reading, and remembers it in st where it accepts it; a reject leaves st as it was. It allocates only
// for rejects, and where the memory of a sensor grows.
//
// Where the arrival is misrouted or the reading has no sensor_id, st is neither read nor changed, and may be nil: it is
// not known to be that of the sensor. The rules that need it are then missing from the detail. They stand there in all
// other cases where the reading has a timestamp, also beside rules that failed earlier: late, duplicate or conflict as
// they would hold for the reading as it is, at most one of them.
func Decide(st *State, r *codecs.RawReading, a *Arrival, o *Options) Decision {
	c := validate.Case{Reading: *r, ReceivedAt: a.ReceivedAt, Misrouted: a.Misrouted, Waive: a.Waive}
	placed := a.Misrouted == "" && r.SensorID != ""
	if placed && st.known {
		c.Place(&st.sensor)
	} else if placed {
		c.Place(nil)
	}
	failed := c.Check(&o.Rules)
	var print uint32
	if placed && r.Timestamp.Valid {
		print = fingerprint(&c.Reading)
		failed |= st.accepted.check(r.Timestamp.V, print, o)
	}
	if failed != 0 {
		return reject(st, &c, failed, o)
	}
	return Decision{Accepted: true, Reading: st.accept(&c, print, o)}
}

// check applies the rules that need the history: the reading's window must be remembered, and its time be free.
func (m *memory) check(ms int64, print uint32, o *Options) validate.Failures {
	watermark, ok := m.watermark()
	if !ok || ms > watermark {
		return 0
	}
	if ms < m.rememberedFrom(watermark, o) {
		return validate.FailLate
	}
	switch first, ok := m.find(ms); {
	case !ok:
		return 0
	case first == print:
		return validate.FailDuplicate
	default:
		return validate.FailConflict
	}
}

func reject(st *State, c *validate.Case, failed validate.Failures, o *Options) Decision {
	b := c.AppendDetail(make([]byte, 0, 128), failed, &o.Rules)
	history := failed & (validate.FailLate | validate.FailDuplicate | validate.FailConflict)
	if history != 0 && history != failed {
		b = append(b, "; "...)
	}
	switch history {
	case validate.FailLate:
		watermark, _ := st.Watermark()
		b = fmt.Appendf(b, "%v: timestamp %s is before %s, from where on windows are remembered "+
			"(watermark %s, window.retention %v)", validate.ReasonLate, codecs.FormatTime(c.Reading.Timestamp.V),
			codecs.FormatTime(st.accepted.rememberedFrom(watermark, o)), codecs.FormatTime(watermark), o.WindowRetention)
	case validate.FailDuplicate:
		b = fmt.Appendf(b, "%v: an equal reading of %s was accepted", validate.ReasonDuplicate,
			codecs.FormatTime(c.Reading.Timestamp.V))
	case validate.FailConflict:
		b = fmt.Appendf(b, "%v: a reading of %s with other values was accepted, and stands", validate.ReasonConflict,
			codecs.FormatTime(c.Reading.Timestamp.V))
	}
	return Decision{Reason: failed.Reason(), Detail: string(b)}
}

// accept remembers a reading that passed, and returns it enriched and numbered.
func (st *State) accept(c *validate.Case, print uint32, o *Options) codecs.Reading {
	raw, s := &c.Reading, &st.sensor
	volume := codecs.Null[int32]{V: int32(raw.VolumeVPH.V), Valid: raw.VolumeVPH.Valid}
	st.sequence++
	st.accepted.add(raw.Timestamp.V, print, o)
	r := codecs.Reading{
		SensorID:     raw.SensorID,
		Timestamp:    raw.Timestamp.V,
		SpeedMPH:     raw.SpeedMPH,
		VolumeVPH:    volume,
		Occupancy:    raw.Occupancy,
		Latitude:     raw.Latitude.V,
		Longitude:    raw.Longitude.V,
		ReceivedAt:   c.ReceivedAt,
		Sequence:     st.sequence,
		Flags:        validate.FlagsOf(raw.SpeedMPH, volume, raw.Occupancy, s.Lanes),
		Freeway:      s.Freeway,
		Direction:    s.Direction,
		Lanes:        s.Lanes,
		IntervalS:    s.IntervalS,
		DensityVPMPL: validate.Density(raw.SpeedMPH, volume, s.Lanes),
	}
	if r.DensityVPMPL.Valid {
		r.LevelOfService = codecs.Some(validate.LevelOfService(r.DensityVPMPL.V))
	}
	if st.stuck.follow(raw.SpeedMPH, volume, raw.Occupancy) {
		r.Flags |= codecs.FlagStuck
	}
	return r
}

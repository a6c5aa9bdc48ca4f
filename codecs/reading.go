package codecs

import "time"

// SensorIDBytesMax is the longest sensor_id, in bytes; a longer one makes a message undecodable.
const SensorIDBytesMax = 256

// RawReading is a reading of traffic-raw as its writer sent it, before any rule was applied. Every field but the id may
// be missing; an empty id is a missing one.
type RawReading struct {
	SensorID  string
	Timestamp Null[int64]   // event time, epoch milliseconds
	SpeedMPH  Null[float64] // mean speed of the sample
	VolumeVPH Null[int64]   // vehicles per hour; wider than int32 so that JSON beyond it is a volume out of range
	Occupancy Null[float64] // percent of the sample in which the loop was covered
	Latitude  Null[float64] // degrees, WGS 84
	Longitude Null[float64]
}

// Sensor is what is known of a sensor: where it stands, what it measures, how often.
type Sensor struct {
	SensorID  string        `json:"sensor_id"`
	Latitude  float64       `json:"latitude"`
	Longitude float64       `json:"longitude"`
	Freeway   Null[string]  `json:"freeway"`
	Direction Null[string]  `json:"direction"`
	Lanes     Null[int32]   `json:"lanes"`
	LengthMi  Null[float64] `json:"length_mi"`  // length of the road segment it stands for
	IntervalS Null[int32]   `json:"interval_s"` // seconds between readings
}

// Reading is an accepted reading: the record of traffic-events with the kind "reading".
type Reading struct {
	SensorID       string
	Timestamp      int64 // event time, epoch milliseconds
	SpeedMPH       Null[float64]
	VolumeVPH      Null[int32]
	Occupancy      Null[float64]
	Latitude       float64
	Longitude      float64
	ReceivedAt     int64 // timestamp of the raw record (of the first arrival for a redriven one), epoch milliseconds
	Sequence       int64 // 1, 2, 3 … per sensor: a gap is a loss
	Flags          Flags
	Freeway        Null[string]
	Direction      Null[string]
	Lanes          Null[int32]
	IntervalS      Null[int32]
	DensityVPMPL   Null[float64] // vehicles per mile per lane: volume / (speed × lanes)
	LevelOfService Null[string]  // "A" … "F" by density, see LevelOfService
}

// WindowAggregate is what a sensor measured in one window: the record of traffic-events with the kind "window".
type WindowAggregate struct {
	SensorID          string
	WindowStart       int64 // epoch milliseconds, inclusive
	WindowEnd         int64 // epoch milliseconds, exclusive
	AvgSpeed          Null[float64]
	AvgVolume         Null[float64]
	AvgOccupancy      Null[float64]
	SpeedVariance     Null[float64] // of the population: divided by n
	MessageCount      int32
	MinSpeed          Null[float64]
	MaxSpeed          Null[float64]
	FlowWeightedSpeed Null[float64] // Σqv/Σq
	HarmonicSpeed     Null[float64] // Σq/Σ(q/v) over readings of at least 5 mph
	ExpectedCount     int32
	Completeness      float64 // MessageCount / ExpectedCount, at most 1
	FlagCounts        FlagCounts
	Revision          int32 // from 1; 0 for a window that has not been published
	CloseReason       CloseReason
	Latitude          float64 // of the last counted reading; last = highest sequence
	Longitude         float64
}

// SensorSilence says that a sensor has sent nothing for the idle timeout: the record of traffic-events with the kind
// "silence".
type SensorSilence struct {
	SensorID  string
	Since     int64 // received_at of the sensor's last reading, epoch milliseconds
	Watermark int64 // the watermark that the detector saw, epoch milliseconds
	AsOf      int64 // the detector's time, epoch milliseconds
}

// CloseReason says what made a revision of a window be published.
type CloseReason string

// The reasons of the contract. A window that is not published has none.
const (
	CloseNone      CloseReason = ""
	CloseWatermark CloseReason = "watermark"
	CloseSilence   CloseReason = "silence"
	CloseLate      CloseReason = "late_reading"
)

// FormatTime writes epoch milliseconds as RFC 3339 in UTC, with milliseconds only where there are any.
func FormatTime(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z07:00")
}

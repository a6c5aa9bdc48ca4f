package validate

import "fmt"

// Reason says why a message was rejected. Its text is a promise: it stands in the header gantry-reason, in metric
// labels and on the command line.
type Reason uint8

// The reasons in the order in which they are checked. Missing fields are checked at two places: sensor_id and timestamp
// before ReasonMisrouted, the rest after ReasonUnknownSensor.
const (
	ReasonNone Reason = iota // not rejected; nothing waived
	ReasonUndecodable
	ReasonMissingField
	ReasonMisrouted
	ReasonUnknownSensor
	ReasonSpeedRange
	ReasonVolumeRange
	ReasonOccupancyRange
	ReasonOutOfBounds
	ReasonTooOld
	ReasonInFuture
	ReasonLate
	ReasonDuplicate
	ReasonConflict
)

var reasonNames = [...]string{
	"none", "undecodable", "missing_field", "misrouted", "unknown_sensor", "speed_range", "volume_range",
	"occupancy_range", "out_of_bounds", "too_old", "in_future", "late", "duplicate", "conflict",
}

// String returns the reason's text, "none" for ReasonNone.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// ParseReason reads the text of a reason. ReasonNone has none: "none" is an error.
func ParseReason(text string) (Reason, error) {
	for _, r := range Reasons() {
		if r.String() == text {
			return r, nil
		}
	}
	return ReasonNone, fmt.Errorf("reason %.64q is not one of %v", text, Reasons())
}

// Reasons lists all reasons in the order in which they are checked, without ReasonNone.
func Reasons() []Reason {
	reasons := make([]Reason, 0, len(reasonNames)-1)
	for i := 1; i < len(reasonNames); i++ {
		reasons = append(reasons, Reason(i))
	}
	return reasons
}

// Waivable tells whether a redriven message can be let through in spite of this reason. The others cannot be waived,
// and where it is tried nothing is waived:
//   - undecodable, missing_field: there is no value to take;
//   - misrouted: the sensor's history is on another partition (a redrive places the message right by itself);
//   - late: its window was published and forgotten, and would be published again as revision 1 with this reading alone;
//   - duplicate, conflict: a sensor has one reading at a time, and the first one stands.
func (r Reason) Waivable() bool {
	switch r {
	case ReasonUnknownSensor, ReasonSpeedRange, ReasonVolumeRange, ReasonOccupancyRange, ReasonOutOfBounds,
		ReasonTooOld, ReasonInFuture:
		return true
	}
	return false
}

package deadletter

import "gantry/processors/validate"

// Mend says what can be done about a reject of this reason.
func Mend(r validate.Reason) string { return mends[r] }

var mends = map[validate.Reason]string{
	validate.ReasonUndecodable: "mend the producer; where only its schema was not registered, register it, and redrive",
	validate.ReasonMissingField: "mend the producer, or take the field out of validate.required and restart, and redrive; " +
		"missing coordinates are filled from the metadata (gantry sensors load)",
	validate.ReasonMisrouted: "redrive it: it is sent with its sensor_id as key, to the right partition; mend the " +
		"producer's key or partitioner (murmur2), or set raw.keyed to false",
	validate.ReasonUnknownSensor: "load the sensor (gantry sensors load), and redrive; or redrive with --waive " +
		"unknown_sensor",
	validate.ReasonSpeedRange: "if the speed is real, redrive with --waive speed_range, or raise validate.speedMax",
	validate.ReasonVolumeRange: "if the volume is real, redrive with --waive volume_range, or raise " +
		"validate.volumeMax",
	validate.ReasonOccupancyRange: "if the value is wanted all the same, redrive with --waive occupancy_range",
	validate.ReasonOutOfBounds: "if the place is right, widen validate.latMin … lonMax, restart and redrive; or redrive " +
		"with --waive out_of_bounds",
	validate.ReasonTooOld:   "if the reading still counts, redrive with --waive too_old: it may be late by now",
	validate.ReasonInFuture: "mend the sender's clock; if the time is right, redrive with --waive in_future",
	validate.ReasonLate: "nothing: its window was published and forgotten; raise window.retention if such readings are " +
		"to count in future",
	validate.ReasonDuplicate: "nothing: an equal reading counts already",
	validate.ReasonConflict:  "nothing: the first reading of that time stands; mend the producer that sends two",
}

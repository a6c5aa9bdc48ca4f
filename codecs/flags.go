package codecs

import "math/bits"

// Flags are the data-quality flags of a reading, one bit each. They never reject.
type Flags uint32

// The flags by bit. Bits 0 to 6 are PORTAL's dqflags; the rules stand in processors/validate.
const (
	FlagCountHigh Flags = 1 << iota
	FlagOccupancyHigh
	FlagSpeedHigh
	FlagSpeedLow
	FlagSpeedZeroWithVolume
	FlagVolumeZeroWithSpeed
	FlagVolumeZeroWithOccupancy
	FlagOccupancyZeroWithVolume
	FlagDensityHigh
	FlagVehicleLength
	FlagStuck

	FlagsAll Flags = 1<<FlagKinds - 1
)

// FlagKinds is the number of flags.
const FlagKinds = 11

var flagNames = [FlagKinds]string{
	"count_high", "occupancy_high", "speed_high", "speed_low", "speed_zero_with_volume", "volume_zero_with_speed",
	"volume_zero_with_occupancy", "occupancy_zero_with_volume", "density_high", "vehicle_length", "stuck",
}

// FlagName returns the name of the flag with this bit number, 0 to FlagKinds-1.
func FlagName(bit int) string { return flagNames[bit] }

// FlagBit returns the bit number of a flag's name.
func FlagBit(name string) (bit int, ok bool) {
	for i, n := range flagNames {
		if n == name {
			return i, true
		}
	}
	return 0, false
}

// Names lists the raised flags by bit.
func (f Flags) Names() []string {
	names := make([]string, 0, bits.OnesCount32(uint32(f)))
	for f &= FlagsAll; f != 0; f &= f - 1 {
		names = append(names, flagNames[bits.TrailingZeros32(uint32(f))])
	}
	return names
}

// FlagCounts counts, by bit, the readings of a window that raised a flag.
type FlagCounts [FlagKinds]int32

// Add counts the flags of one reading.
func (c *FlagCounts) Add(f Flags) {
	for f &= FlagsAll; f != 0; f &= f - 1 {
		c[bits.TrailingZeros32(uint32(f))]++
	}
}

// Map returns the counts by name, without those that are 0. It is never nil.
func (c FlagCounts) Map() map[string]int32 {
	m := make(map[string]int32)
	for bit, n := range c {
		if n != 0 {
			m[flagNames[bit]] = n
		}
	}
	return m
}

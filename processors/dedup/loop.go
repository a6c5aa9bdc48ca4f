package dedup

import (
	"cmp"
	"slices"
)

// positions holds the highest source offset seen per raw partition, by partition.
type positions []position

type position struct {
	partition int32
	offset    int64
}

// advance tells whether the offset was passed already, and records it where it was not.
func (p *positions) advance(partition int32, offset int64) (repeat bool) {
	i, ok := slices.BinarySearchFunc(*p, partition, func(x position, partition int32) int {
		return cmp.Compare(x.partition, partition)
	})
	if !ok {
		*p = slices.Insert(*p, i, position{partition, offset})
		return false
	}
	if offset <= (*p)[i].offset {
		return true
	}
	(*p)[i].offset = offset
	return false
}

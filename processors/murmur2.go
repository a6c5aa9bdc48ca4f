package processors

import "hash"

// Murmur2 is the hash by which the Java client places a key, and with it every topic written by Java, kafkajs,
// librdkafka (murmur2_random) or Connect. 32 bits, seed 0x9747b28c.
func Murmur2(key string) uint32 {
	const (
		seed uint32 = 0x9747b28c
		m    uint32 = 0x5bd1e995
		r           = 24
	)
	n := len(key)
	h := seed ^ uint32(n)
	i := 0
	for ; n-i >= 4; i += 4 {
		k := uint32(key[i]) | uint32(key[i+1])<<8 | uint32(key[i+2])<<16 | uint32(key[i+3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch n - i {
	case 3:
		h ^= uint32(key[i+2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[i+1]) << 8
		fallthrough
	case 1:
		h ^= uint32(key[i])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}

// PartitionOf returns the partition of a key among n, as the Java client's default partitioner places it.
func PartitionOf(key string, n int) int32 {
	return int32((Murmur2(key) & 0x7fffffff) % uint32(n))
}

// hasher is Murmur2 for goka, which negates a negative sum where Java clears the sign bit: so it is cleared here.
type hasher struct{ key []byte }

// NewHasher returns the hash that goka's groups, views and emitters are given.
func NewHasher() hash.Hash32 { return new(hasher) }

func (h *hasher) Write(p []byte) (int, error) { h.key = append(h.key, p...); return len(p), nil }
func (h *hasher) Sum32() uint32               { return Murmur2(string(h.key)) & 0x7fffffff }
func (h *hasher) Reset()                      { h.key = h.key[:0] }
func (h *hasher) Size() int                   { return 4 }
func (h *hasher) BlockSize() int              { return 4 }
func (h *hasher) Sum(b []byte) []byte {
	s := h.Sum32()
	return append(b, byte(s>>24), byte(s>>16), byte(s>>8), byte(s))
}

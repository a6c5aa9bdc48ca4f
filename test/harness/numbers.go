package harness

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// Number reads a number from the environment.
func Number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// Seed is that of GANTRY_SEED, or a new one; the log of the test says which.
func Seed(t *testing.T) uint64 {
	t.Helper()
	seed := Number(t, "GANTRY_SEED", uint64(time.Now().UnixNano()))
	t.Logf("GANTRY_SEED=%d", seed)
	return seed
}

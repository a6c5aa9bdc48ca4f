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

// Long skips a test, or a part of one, that takes long and that not every run needs: GANTRY_LONG asks for it.
func Long(t *testing.T) {
	t.Helper()
	if os.Getenv("GANTRY_LONG") == "" {
		t.Skip("GANTRY_LONG is not set (make test-real-long)")
	}
}

// Seed is that of GANTRY_SEED, or a new one; the log of the test says which.
func Seed(t *testing.T) uint64 {
	t.Helper()
	seed := Number(t, "GANTRY_SEED", uint64(time.Now().UnixNano()))
	t.Logf("GANTRY_SEED=%d", seed)
	return seed
}

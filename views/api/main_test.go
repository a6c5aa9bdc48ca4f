package api

import (
	"testing"

	"go.uber.org/goleak"
)

// No test may leave a goroutine: a stream that outlives its server is a leak that a process pays for all its life.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

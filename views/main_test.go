package views

import (
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Views, group members and feeds are closed with what runs them: no goroutine outlives a test.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// sarama registers metrics with a library that keeps one ticker for the life of the process.
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"),
		// A closed LevelDB leaves this one for a second.
		goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

func logger(t *testing.T) *slog.Logger {
	if os.Getenv("GANTRY_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

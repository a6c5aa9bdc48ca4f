package app

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A start that fails half-way says why and holds on to nothing: the same folder starts when the port is free.
func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := EmbeddedOptions{Dir: t.TempDir(), KafkaAddr: "127.0.0.1:0", RegistryAddr: taken.Addr().String()}
	if e, err := StartEmbedded(o); err == nil {
		e.Close()
		t.Fatal("two servers listen on one port")
	}
	taken.Close()
	e, err := StartEmbedded(o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := StartEmbedded(o); !errors.Is(err, ErrInUse) {
		t.Errorf("a second start: %v", err)
	}
}

// Whoever waits for a server that does not answer hears of it once, before the wait is over.
func TestReach(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers time.Duration
		waiting int
		err     error
	}{
		{"soon", quietTime / 2, 0, nil},
		{"late", 2 * quietTime, 1, nil},
		{"never", time.Hour, 1, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*quietTime)
			defer cancel()
			up := time.After(tt.answers)
			waiting := 0
			err := Reach(ctx, func(ctx context.Context) error {
				select {
				case <-up:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}, func(error) { waiting++ })
			if !errors.Is(err, tt.err) || waiting != tt.waiting {
				t.Errorf("%s: %v, told %d times, want %v and %d", tt.name, err, waiting, tt.err, tt.waiting)
			}
		})
	}
}

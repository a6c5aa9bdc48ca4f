package simulate

import (
	"flag"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "")
	seedsFlag = flag.Int("seeds", 200, "")
	without   = flag.String("without", "", "")
	story     = flag.Bool("story", false, "")
)

func TestSeeds(t *testing.T) {
	began := time.Now()
	records, bad := 0, 0
	for seed := *seedFlag; seed < *seedFlag+uint64(*seedsFlag); seed++ {
		r := Run(Options{Seed: seed, Story: *story, Without: *without})
		records += r.Records
		for _, s := range r.Story {
			t.Log(s)
		}
		if r.Violation != "" {
			bad++
			t.Errorf("seed %d: %s", seed, r.Violation)
		}
	}
	t.Logf("%d seeds in %v, %d records, %d bad", *seedsFlag, time.Since(began), records, bad)
}

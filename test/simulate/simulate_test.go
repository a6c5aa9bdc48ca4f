package simulate

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gantry/store/archive/fstest"
)

// What make simulate passes on. Without any of it the tests run as many schedules as every change can wait for.
var (
	seedsFlag   = flag.Int("seeds", 200, "how many schedules, from -first on")
	firstFlag   = flag.Uint64("first", 1, "the first seed")
	seedFlag    = flag.Uint64("seed", 0, "run this schedule alone, and print its story")
	maskFlag    = flag.String("mask", "", "with -seed: kinds of faults that do not happen")
	stepsFlag   = flag.Int("steps", 0, "with -seed: after so many steps nothing goes wrong any more")
	stagesFlag  = flag.Bool("stages", false, "with -seed: without archivers")
	withoutFlag = flag.String("without", "", "with -seed: the mechanism that is taken out")
)

// TestSchedules runs schedules, each from its seed alone. A broken guarantee is shrunk to few faults and steps, and
// told with the command that repeats it.
func TestSchedules(t *testing.T) {
	if *seedFlag != 0 {
		t.Skip("one seed was asked for")
	}
	n := *seedsFlag
	if testing.Short() {
		n = min(n, 20)
	}
	t.Logf("seeds %d to %d", *firstFlag, *firstFlag+uint64(n)-1)
	var next, records atomic.Int64
	var mu sync.Mutex
	var broken []uint64
	began := time.Now()
	report := func(done int64) {
		took := time.Since(began)
		fmt.Printf("simulate: %d of %d schedules in %v (%.0f a second), %d records, %d broken\n", done, n,
			took.Round(time.Second), float64(done)/took.Seconds(), records.Load(), len(broken))
	}
	var workers sync.WaitGroup
	said := began
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				seed := *firstFlag + uint64(i) - 1
				r := Run(Options{Seed: seed})
				records.Add(int64(r.Records))
				mu.Lock()
				if r.Violation != "" {
					broken = append(broken, seed)
					fmt.Printf("simulate: seed %d: %s\n", seed, r.Violation)
				}
				if time.Since(said) > 10*time.Second {
					said = time.Now()
					report(i)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	report(int64(n))
	slices.Sort(broken)
	for _, seed := range broken[:min(3, len(broken))] {
		tell(t, Options{Seed: seed})
	}
	if len(broken) > 0 {
		t.Errorf("seeds %v broke a guarantee", broken)
	}
}

func tell(t *testing.T, o Options) {
	t.Helper()
	o, r := Shrink(o)
	t.Errorf("seed %d\n%s\nbroken: %s\nagain, alone: %s", o.Seed, strings.Join(r.Story, "\n"), r.Violation, o.Command())
}

// TestSeed runs the one schedule that is asked for, and tells its story.
func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("no -seed")
	}
	mask, err := ParseMask(*maskFlag)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Seed: *seedFlag, Mask: mask, Steps: *stepsFlag, Stages: *stagesFlag, Without: *withoutFlag, Story: true,
	}
	r := Run(o)
	fmt.Println(strings.Join(r.Story, "\n"))
	if r.Violation != "" {
		fmt.Println("broken:", r.Violation)
		short, _ := Shrink(o)
		t.Fatalf("shorter: %s", short.Command())
	}
	fmt.Println("every guarantee holds")
}

// A seed is a schedule: run again, beside others, it tells the same story to the letter, and a run that tells no story
// ends the same.
func TestSameSeedSameStory(t *testing.T) {
	for seed := uint64(1); seed <= 12; seed++ {
		first := Run(Options{Seed: seed, Story: true})
		var beside sync.WaitGroup
		beside.Go(func() { Run(Options{Seed: seed + 100}) })
		again := Run(Options{Seed: seed, Story: true})
		beside.Wait()
		for i, line := range first.Story {
			if i >= len(again.Story) || again.Story[i] != line {
				t.Fatalf("seed %d, line %d: %q, then %q", seed, i, line, again.Story[min(i, len(again.Story)-1)])
			}
		}
		if silent := Run(Options{Seed: seed}); silent.Records != first.Records || len(again.Story) != len(first.Story) {
			t.Fatalf("seed %d: %d lines, then %d; %d records, without its story %d", seed, len(first.Story),
				len(again.Story), first.Records, silent.Records)
		}
	}
}

// near are seeds from which on it does not take long until the absence of a rare mechanism shows. A change of the
// schedules makes them worthless, and costs a search of some minutes once.
var near = map[string]uint64{
	"exclusive manifests":       257,
	"hold of the stored offset": 2823,
}

// rare is a mechanism whose absence shows in none of thousands of schedules in a row: it is looked for where -seeds asks
// for more of them. The tests of compaction in store/archive show that it is needed in a schedule made for it.
const rare = fstest.LastingManifests

// TestEveryMechanismIsNeeded takes one mechanism out at a time. The simulation must see what it prevents, and nothing
// in the same schedule with the mechanism in its place.
func TestEveryMechanismIsNeeded(t *testing.T) {
	for _, m := range Mechanisms() {
		t.Run(m, func(t *testing.T) {
			const seeds = 5000
			if m == rare && *seedsFlag <= seeds {
				t.Skipf("it takes more than %d schedules (-args -seeds)", seeds)
			}
			from := max(near[m], 1)
			for seed := from; seed < from+uint64(max(seeds, *seedsFlag)); seed++ {
				o := Options{Seed: seed, Without: m, Stages: ofStages(m)}
				broken := Run(o).Violation
				if broken == "" {
					continue
				}
				t.Logf("seed %d: %s", seed, broken)
				o.Without = ""
				if r := Run(o); r.Violation != "" {
					t.Fatalf("seed %d, with it: %s", seed, r.Violation)
				}
				return
			}
			t.Fatal("nothing went wrong without it")
		})
	}
}

// A schedule that breaks a guarantee stays broken when it is shrunk, and the command names what is left.
func TestShrink(t *testing.T) {
	o, r := Shrink(Options{Seed: 1, Stages: true, Without: "ordered commit"})
	if r.Violation == "" || len(r.Story) == 0 {
		t.Fatalf("%+v holds", o)
	}
	if o.Mask == 0 || o.Steps == 0 || !strings.Contains(o.Command(), "MASK="+o.Mask.String()) {
		t.Errorf("nothing was left out: %s", o.Command())
	}
	mask, err := ParseMask(o.Mask.String())
	if err != nil || mask != o.Mask {
		t.Errorf("%q is read as %v: %v", o.Mask.String(), mask, err)
	}
	if _, err := ParseMask("rain"); err == nil {
		t.Error("rain is no kind of fault")
	}
}

package dedup

import (
	"encoding/hex"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gantry/codecs"
	"gantry/processors/validate"
)

// roundTrip replaces the state by what its encoding holds.
func roundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, st **State,
) {
	t.Helper()
	data := (*st).AppendTo(nil)
	decoded, err := DecodeState(data)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if again := decoded.AppendTo(nil); !slices.Equal(data, again) {
		t.Fatalf("encoded, decoded, encoded:\n%x\n%x", data, again)
	}
	*st = decoded
}

// The state of a sensor that sends every 30 s is rewritten for each reading: its size is throughput. Budget: 480 bytes.
func TestStateSize(t *testing.T) {
	o, st := DefaultOptions(), knownState()
	largest := 0
	for i := range int64(240) {
		r := readingAt(noon + i*30*second)
		r.SpeedMPH.V = 50 + float64(i%17)
		mustAccept(t, st, r, arrivedAt(noon+i*30*second), &o)
		largest = max(largest, len(st.AppendTo(nil)))
	}
	t.Logf("after 2 h: %d bytes, %d readings remembered; largest on the way: %d bytes",
		len(st.AppendTo(nil)), len(st.accepted.times), largest)
	if largest > 480 {
		t.Errorf("%d bytes", largest)
	}
}

// The encoded form is on disk and in changelogs: a change of it needs a new version.
func TestEncodedForm(t *testing.T) {
	o, st := DefaultOptions(), knownState()
	st.SeenOnLoop(codecs.KindReading, 3, 1000)
	st.SeenOnLoop(codecs.KindReading, 0, 7)
	st.SeenOnLoop(codecs.KindSensor, 4, 2)
	for _, i := range []int64{0, 1, 2, 3, 5, 4, 9} {
		mustAccept(t, st, readingAt(noon+i*30*second), arrivedAt(noon+i*30*second), &o)
	}
	want := "017f" + "6666666666064140" + "0000000000905dc0" + // version, presence, latitude, longitude
		"05492d343035" + "014e" + "08" + "d7a3703d0ad7e33f" + "3c" + // freeway, direction, lanes, length, interval
		"07" + "37c025" + "0000000000c04e40" + "0000000000002040" + // sequence; 7 alike: 4800, 61.5, 8
		"02" + "0007" + "03e807" + "01" + "0402" + // readings on the loop: 0 to 7, 3 to 1000; metadata: 4 to 2
		"07" + "a0b5d8fef962" + // 7 remembered, watermark 22:19:30
		"80d30e" + "e1d40303" + "e084ee01" + // 2 min, 5 times 30 s, judged from 65 min before
		"92b925995b92b925995b92b925995b92b905" // 0x5b992, 7 times
	if got := hex.EncodeToString(st.AppendTo(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A reading must have the same fingerprint for ever: it is compared with stored ones.
func TestFingerprint(t *testing.T) {
	for _, x := range []struct {
		r    codecs.RawReading
		want uint32
	}{
		{codecs.RawReading{}, 0xd1c0b},
		{*readingAt(noon), 0x5b992},
	} {
		if got := fingerprint(&x.r); got != x.want {
			t.Errorf("%+v: %#x, want %#x", x.r, got, x.want)
		}
	}
}

// Readings that differ by little are told apart as well as others: fingerprints spread like random numbers.
func TestFingerprintSpreads(t *testing.T) {
	const n = 200_000
	seen := make(map[uint32]int)
	for i := range n {
		r := readingAt(noon)
		r.SpeedMPH.V = float64(i%2000) / 16
		r.VolumeVPH.V = int64(i / 2000 * 120)
		seen[fingerprint(r)]++
	}
	// Of n draws from 2^20 values, 2^20·(1 − e^(−n/2^20)) = 182,000 are different.
	if len(seen) < 181_000 || len(seen) > 183_000 {
		t.Errorf("%d fingerprints of %d readings", len(seen), n)
	}
}

// A router that starts again repeats a run of one partition; nothing else is a repeat.
func TestSeenOnLoop(t *testing.T) {
	st := &State{}
	for i, x := range []struct {
		kind      codecs.Kind
		partition int32
		offset    int64
		want      bool
	}{
		{codecs.KindReading, 2, 0, false},
		{codecs.KindReading, 2, 0, true},
		{codecs.KindReading, 2, 5, false},
		{codecs.KindReading, 2, 4, true},
		{codecs.KindReading, 0, 4, false},
		{codecs.KindReading, 9, 4, false},
		{codecs.KindReading, 2, 5, true},
		{codecs.KindReading, 9, 4, true},
		{codecs.KindSensor, 2, 3, false}, // overtook readings that the router holds back
		{codecs.KindSensor, 2, 3, true},
		{codecs.KindReading, 2, 6, false},
		{codecs.KindSensor, 2, 4, false},
	} {
		if got := st.SeenOnLoop(x.kind, x.partition, x.offset); got != x.want {
			t.Errorf("%d %+v: %v", i, x, got)
		}
		roundTrip(t, &st)
	}
}

// However many readings a sensor sends, its state is bounded, no reading is accepted twice, and each that can no longer
// be judged is late.
func TestStateIsBounded(t *testing.T) {
	for _, x := range []struct {
		name  string
		times func(i int) int64 // in milliseconds after noon
	}{
		{"every millisecond", func(i int) int64 { return int64(i) }},
		{"backwards", func(i int) int64 { return int64(80_000 - i) }},
		{"uneven gaps", func(i int) int64 { return int64(i)*100 + int64(i*i%97) }},
		{"widely uneven gaps", func(i int) int64 { return int64(i)*120 + int64(i%2)*100 }},
	} {
		t.Run(x.name, func(t *testing.T) {
			o, st := looseOptions(), knownState()
			order := make([]int64, 80_000)
			for i := range order {
				order[i] = noon + x.times(i)
			}
			// Here and there out of order, as an insertion into a full memory is the slow case.
			random := rand.New(rand.NewPCG(1, 2))
			for range 5000 {
				i := random.IntN(len(order) - 50)
				j := i + random.IntN(50)
				order[i], order[j] = order[j], order[i]
			}
			accepted, largest := make(map[int64]bool), 0
			send := func(ms int64, i int) {
				switch d := Decide(st, readingAt(ms), arrivedAt(ms), o); {
				case d.Accepted && accepted[ms]:
					t.Fatalf("%d is accepted twice", ms)
				case d.Accepted:
					accepted[ms] = true
				case d.Reason == validate.ReasonDuplicate && accepted[ms]:
				case d.Reason != validate.ReasonLate:
					t.Fatal(d.Detail)
				}
				if i%8000 == 0 {
					roundTrip(t, &st)
				}
				if i%1000 == 0 {
					largest = max(largest, len(st.AppendTo(nil)))
				}
			}
			for i, ms := range order {
				send(ms, i)
			}
			for i, ms := range order {
				send(ms, i)
			}
			t.Logf("%d accepted, largest state %d bytes", len(accepted), largest)
			if largest > 256<<10 {
				t.Errorf("%d bytes", largest)
			}
			if st.accepted.from <= noon-70*minute {
				t.Error("the memory was never full: the test tests nothing")
			}
		})
	}
}

// Event times at the ends of their type arrive where too_old and in_future are waived, or where the broker's clock
// says so. Nothing wraps around.
func TestExtremeTimes(t *testing.T) {
	o := looseOptions()
	times := []int64{
		math.MinInt64, math.MinInt64 + 1, math.MinInt64 + 70*minute, math.MinInt64 + 80*minute, -1, 0, 1,
		math.MaxInt64 - 1, math.MaxInt64,
	}
	for i, first := range times {
		for j, second := range times {
			st := knownState()
			mustAccept(t, st, readingAt(first), arrivedAt(first), o)
			roundTrip(t, &st)
			d := Decide(st, readingAt(second), arrivedAt(second), o)
			near := second >= first || uint64(first)-uint64(second) <= uint64(65*minute)
			switch {
			case i == j && d.Reason != validate.ReasonDuplicate, i != j && near && !d.Accepted:
				t.Errorf("%d then %d: %v %q", first, second, d.Reason, d.Detail)
			case !near && d.Reason != validate.ReasonLate && uint64(first)-uint64(second) > uint64(75*minute):
				t.Errorf("%d then %d: %v %q, want late", first, second, d.Reason, d.Detail)
			}
			if got, _ := st.Watermark(); got != max(first, second) {
				t.Errorf("%d then %d: watermark %d", first, second, got)
			}
			roundTrip(t, &st)
		}
	}
}

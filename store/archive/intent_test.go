package archive

import (
	"errors"
	"reflect"
	"testing"
)

func sampleIntent() *intent {
	return &intent{
		id: intentID{1, 2, 3}, partition: 4, start: 100, end: 200,
		files: []fileEntry{
			{table: TableRaw, temp: "_temporary/a", final: "raw/a.parquet", rows: 7, bytes: 999, crc: 0xdeadbeef},
			{table: TableAggregates, temp: "_temporary/b", final: "processed/b.parquet", rows: 1, bytes: 2},
		},
		holes: []Hole{{From: 0, To: 5}, {From: 90, To: 110}},
		marks: map[string]mark{
			"":   {id: ""},
			"s1": {id: "s1", reading: counter{last: 1 << 40, holes: 2}, window: counter{last: 3}},
		},
	}
}

func TestIntentRoundTrip(t *testing.T) {
	want := sampleIntent()
	data, err := want.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeIntent(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
}

// One bit more or less anywhere is noticed: renames and resume offsets hang on it.
func TestIntentChecksum(t *testing.T) {
	data, err := sampleIntent().encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			if _, err := decodeIntent(data); !errors.Is(err, ErrIntentCorrupt) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
			data[i] ^= 1 << bit
		}
	}
}

// A decoder of intents is total, and what it accepts means the same after being written again.
func FuzzDecodeIntent(f *testing.F) {
	data, err := sampleIntent().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(sampleIntent().appendBody(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if in, err := decodeIntent(data); (in == nil) == (err == nil) {
			t.Fatalf("an intent %v and the error %v", in, err)
		}
		in, err := decodeBody(data)
		if err != nil {
			return
		}
		again, err := decodeBody(in.appendBody(nil))
		if err != nil || !reflect.DeepEqual(in, again) {
			t.Fatalf("%+v became %+v, %v", in, again, err)
		}
	})
}

func TestParseStart(t *testing.T) {
	for _, c := range []struct {
		base string
		ok   bool
	}{
		{"00003-00000000000000001234", true},
		{"00003-00000000000000001234-rest", true},
		{"0003-00000000000000001234", false},
		{"00003-0000000000000001234", false},
		{"0000x-00000000000000001234", false},
		{"00003-99999999999999999999", false},
		{"", false},
	} {
		partition, start, _, ok := parseStart(c.base)
		if ok != c.ok || ok && (partition != 3 || start != 1234) {
			t.Errorf("%q: %d, %d, %v", c.base, partition, start, ok)
		}
	}
}

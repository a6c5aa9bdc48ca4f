package ledger

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// redrive is the raw record of the day's redrive.
func (w *world) redrive() *kgo.Record {
	return find(w.raw, 0, func(r *kgo.Record) bool { _, ok := header(r, codecs.HeaderRedrive); return ok })
}

// A redriven message is a record like every other: the sums hold, and the report names it with its reject.
func TestRedriveIsNamed(t *testing.T) {
	w := day()
	r := w.verify(t, w.extent())
	want := Redrive{Source: sourceOf(w.rejected("undecodable")), As: place(w.redrive()), Outcome: "accepted"}
	if !r.OK() || !r.Totals.Balanced() || r.Totals.Redriven != 1 || r.Totals.RedrivenAccepted != 1 ||
		len(r.Redrives) != 1 || r.Redrives[0] != want {
		t.Errorf("%v: %+v, not %+v", r.Exceptions, r.Redrives, want)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), want.Source+" as "+want.As) {
		t.Errorf("the text does not name it: %v\n%s", err, text.String())
	}
}

// Of a reject that was sent again twice both places are named; so is what was sent again and had not been rejected.
func TestRedrivesThatDoNotFit(t *testing.T) {
	for name, mutate := range map[string]func(w *world) finding{
		"twice": func(w *world) finding {
			return finding{KindRedrivenTwice, place(double(w.raw, w.redrive()))}
		},
		"of an accepted reading": func(w *world) finding {
			setHeader(w.redrive(), codecs.HeaderRedrive, sourceOf(w.event(codecs.KindReading, "100", 3)))
			return finding{KindRedriveUnfit, place(w.redrive())}
		},
		"of metadata": func(w *world) finding {
			sensor := find(w.raw, 0, func(r *kgo.Record) bool { _, ok := header(r, codecs.HeaderKind); return ok })
			setHeader(w.redrive(), codecs.HeaderRedrive, place(sensor))
			return finding{KindRedriveUnfit, place(w.redrive())}
		},
		"of nothing": func(w *world) finding {
			setHeader(w.redrive(), codecs.HeaderRedrive, "traffic-raw/0/9000")
			return finding{KindRedriveUnfit, place(w.redrive())}
		},
		"of something else": func(w *world) finding {
			setHeader(w.redrive(), codecs.HeaderRedrive, "a reject")
			return finding{KindRedriveUnfit, place(w.redrive())}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := day()
			first := place(w.redrive())
			want := mutate(w)
			checkFindings(t, w, want)
			r := w.verify(t, w.extent())
			i := slices.IndexFunc(r.Exceptions, func(x Exception) bool { return x.Kind == want.kind })
			if want.kind == KindRedrivenTwice && !strings.Contains(r.Exceptions[i].Text, first) {
				t.Errorf("the other one, %s, is not named: %v", first, r.Exceptions[i])
			}
		})
	}
}

// A reject that holds a part of a message that was too large is proved, as far as it goes, and nothing else passes for
// one: other bytes, another length, another whole, a small message that need not have been cut.
func TestAbridgedRejects(t *testing.T) {
	const whole, cut = 200_001, 25 * codecs.AbridgedBlock
	for name, alter := range map[string]func(raw, r *kgo.Record){
		"":                   func(_, _ *kgo.Record) {},
		"a byte is altered":  func(_, r *kgo.Record) { r.Value[cut-1]++ },
		"a byte is missing":  func(_, r *kgo.Record) { r.Value = r.Value[:cut-1] },
		"more than there is": func(_, r *kgo.Record) { r.Value = bytes.Repeat([]byte("x"), whole+1) },
		"of another whole": func(_, r *kgo.Record) {
			setHeader(r, codecs.HeaderAbridged, strconv.Itoa(whole+1))
		},
		"of nothing":          func(_, r *kgo.Record) { setHeader(r, codecs.HeaderAbridged, "much") },
		"it does not say so":  func(_, r *kgo.Record) { dropHeader(r, codecs.HeaderAbridged) },
		"another key":         func(_, r *kgo.Record) { r.Key = []byte("101") },
		"another received-at": func(_, r *kgo.Record) { setHeader(r, codecs.HeaderReceivedAt, "1") },
		"of a small message": func(raw, r *kgo.Record) {
			raw.Value = raw.Value[:2*codecs.AbridgedBlock]
			r.Value = r.Value[:codecs.AbridgedBlock]
			setHeader(r, codecs.HeaderAbridged, strconv.Itoa(len(raw.Value)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := day()
			raw := w.addRaw("100", bytes.Repeat([]byte("x"), whole))
			w.reject(raw, "undecodable")
			p := w.rejects[w.partition("100")]
			r := p[len(p)-1]
			r.Value = bytes.Clone(raw.Value[:cut])
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: codecs.HeaderAbridged, Value: []byte(strconv.Itoa(whole))})
			alter(raw, r)
			report := w.verify(t, w.extent())
			want := map[Kind]int64{KindUnfitOutcome: 1}
			if name == "" {
				want = map[Kind]int64{}
			}
			if !maps.Equal(report.ExceptionsByKind, want) {
				t.Errorf("%v", report.Exceptions)
			}
		})
	}
}

package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// Redrive is a raw record that sends a rejected message again. It is a record like every other, with an outcome of its
// own; only its message is counted once more.
type Redrive struct {
	Source  string `json:"source"`  // the raw record whose reject was sent again
	As      string `json:"as"`      // the raw record that it was sent as
	Outcome string `json:"outcome"` // accepted, the reason of its reject, or none yet
}

// Outcomes of redrives beside the reasons of rejects.
const (
	redriveAccepted = "accepted"
	redriveNone     = "none"
)

// redrivesKept is how many redrives a report names. All are counted.
const redrivesKept = 1000

// spot is a place on traffic-raw.
type spot struct {
	partition int32
	offset    int64
}

// redriven notes what a raw record says that it sends again. Of two that send the same the ledger names both.
func (l *Ledger) redriven(r *kgo.Record, s *slot, text string) {
	l.totals.Redriven++
	at := l.place(l.o.RawTopic, r)
	source, err := codecs.ParseSource(text)
	if err != nil || source.Topic != l.o.RawTopic || int(source.Partition) >= len(l.raw) ||
		source.Offset >= l.x.Raw[source.Partition].End {
		l.except(KindRedriveUnfit, at, l.names[s.sensor], "it sends %.300q again, which does not exist", text)
		return
	}
	of := spot{source.Partition, source.Offset}
	if first, ok := l.redrives[of]; ok {
		l.except(KindRedrivenTwice, at, l.names[s.sensor], "it sends %v again, and so does %s/%d/%d", source, l.o.RawTopic,
			first.partition, first.offset)
		return
	}
	l.redrives[of] = spot{at.Partition, at.Offset}
}

// closeRedrives counts what became of the redrives, and reports those of records that were not rejected: their message
// counts twice.
func (l *Ledger) closeRedrives() []Redrive {
	var all []placedRedrive
	for of, as := range l.redrives {
		source := codecs.Source{Topic: l.o.RawTopic, Partition: of.partition, Offset: of.offset}
		at := codecs.Source{Topic: l.o.RawTopic, Partition: as.partition, Offset: as.offset}
		s := l.raw[as.partition].slots.get(as.offset)
		switch origin := l.raw[of.partition].slots.get(of.offset); {
		case origin.state&slotAccepted != 0:
			l.except(KindRedriveUnfit, at, l.names[s.sensor], "it sends %v again, which was accepted", source)
		case origin.state&slotMetadata != 0:
			l.except(KindRedriveUnfit, at, l.names[s.sensor], "it sends %v again, which is metadata of a sensor", source)
		}
		outcome := redriveNone
		switch {
		case s.state&slotAccepted != 0:
			outcome = redriveAccepted
			l.totals.RedrivenAccepted++
		case s.state&slotRejected != 0:
			outcome = reasons[s.reason]
			l.totals.RedrivenRejected++
		}
		all = append(all, placedRedrive{as, Redrive{Source: source.String(), As: at.String(), Outcome: outcome}})
		if len(all) == 2*redrivesKept {
			all = firstRedrives(all)
		}
	}
	named := []Redrive{} // [] in JSON where there is none
	for _, d := range firstRedrives(all) {
		named = append(named, d.Redrive)
	}
	return named
}

// placedRedrive is a redrive and its place.
type placedRedrive struct {
	as spot
	Redrive
}

// firstRedrives keeps those that a report names, by place: which they are does not depend on the order in which they
// came.
func firstRedrives(all []placedRedrive) []placedRedrive {
	slices.SortFunc(all, func(a, b placedRedrive) int {
		return cmp.Or(cmp.Compare(a.as.partition, b.as.partition), cmp.Compare(a.as.offset, b.as.offset))
	})
	return all[:min(len(all), redrivesKept)]
}

// redrivesShown is how many redrives the text of a report names.
const redrivesShown = 20

func (r *Report) writeRedrives(b *strings.Builder) {
	t := &r.Totals
	if t.Redriven == 0 {
		return
	}
	fmt.Fprintf(b, "records that send a reject again: %d (%d accepted, %d rejected again)\n", t.Redriven,
		t.RedrivenAccepted, t.RedrivenRejected)
	for _, d := range r.Redrives[:min(len(r.Redrives), redrivesShown)] {
		fmt.Fprintf(b, "  %s as %s: %s\n", d.Source, d.As, d.Outcome)
	}
	if more := t.Redriven - int64(min(len(r.Redrives), redrivesShown)); more > 0 {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
}

package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"gantry/codecs"
	"gantry/views/deadletter"
)

func newDLQShow(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "show PARTITION/OFFSET|SOURCE",
		Short: "Show a rejected message, what is wrong with it, and what became of it",
		Long: "Shows a message of traffic-rejects with its headers and its value, decoded where it can be, what can be done\n" +
			"about it, and the outcome of its redrives. It is named by its place there, or by its source: the place of the\n" +
			"raw record.",
		Example: "  gantry dlq show 3/12\n  gantry dlq show traffic-raw/3/1742 --json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.showReject(cmd, args[0]) },
	}
}

func (c *cli) showReject(cmd *cobra.Command, arg string) error {
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	refs, err := references([]string{arg}, l.Topics.Rejects)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	q, err := c.deadLetters(ctx, &l.Config)
	if err != nil {
		return err
	}
	defer q.close()
	t, err := q.Trace(ctx, refs[0])
	if err != nil {
		return err
	}
	q.quiet()
	r := newShown(t)
	return c.print(r, r.String())
}

// shown is what gantry dlq show prints.
type shown struct {
	rejectJSON
	Mend        string              `json:"mend"`
	Headers     []headerJSON        `json:"headers"`
	Key         codecs.Null[string] `json:"key"`     // null for a null; not UTF-8: as base16
	Reading     *readingJSON        `json:"reading"` // null where the message cannot be decoded
	Undecodable string              `json:"undecodable,omitempty"`
	ValueBytes  int                 `json:"value_bytes"`
	ValueHex    string              `json:"value_hex"` // the first 4096 bytes
	Redrives    []redrivenJSON      `json:"redrives"`

	value []byte
}

type headerJSON struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type readingJSON struct {
	SensorID  string              `json:"sensor_id"`
	Timestamp codecs.Null[string] `json:"timestamp"`
	Speed     any                 `json:"speed_mph"`
	Volume    codecs.Null[int64]  `json:"volume_vph"`
	Occupancy any                 `json:"occupancy_percent"`
	Latitude  any                 `json:"latitude"`
	Longitude any                 `json:"longitude"`
}

// redrivenJSON is a redrive and its outcome: accepted, the reason of a reject, or pending.
type redrivenJSON struct {
	At      string `json:"at"`
	Outcome string `json:"outcome"`
	Place   string `json:"place,omitempty"` // of the outcome
	Detail  string `json:"detail,omitempty"`
}

const dumpBytesMax = 4096

func newShown(t *deadletter.Trace) shown {
	r := shown{
		rejectJSON: newRejectJSON(t.Reject, nil), Mend: deadletter.Mend(t.Reason), Headers: []headerJSON{},
		ValueBytes: len(t.Value), ValueHex: hex.EncodeToString(t.Value[:min(len(t.Value), dumpBytesMax)]),
		Redrives: []redrivenJSON{}, value: t.Value,
	}
	for _, h := range t.Headers {
		r.Headers = append(r.Headers, headerJSON{h.Key, legible(h.Value)})
	}
	if t.Key != nil {
		r.Key = codecs.Some(legible(t.Key))
	}
	switch {
	case t.Err != nil:
		r.Undecodable = t.Err.Error()
	case t.Kind == "":
		r.Reading = newReadingJSON(&t.Reading)
	}
	for i, d := range t.Redrives {
		s := redrivenJSON{At: d.At.String(), Outcome: "pending"}
		switch {
		case d.Accepted != nil:
			s.Outcome, s.Place = "accepted", d.Accepted.String()
		case d.Rejected != nil:
			s.Outcome, s.Place, s.Detail = d.Rejected.Reason.String(), d.Rejected.At.String(), d.Rejected.Detail
		}
		if i == 0 {
			r.Redriven = codecs.Some(s.At)
		}
		r.Redrives = append(r.Redrives, s)
	}
	return r
}

func newReadingJSON(r *codecs.RawReading) *readingJSON {
	j := &readingJSON{
		SensorID: r.SensorID, Speed: number(r.SpeedMPH), Volume: r.VolumeVPH, Occupancy: number(r.Occupancy),
		Latitude: number(r.Latitude), Longitude: number(r.Longitude),
	}
	if r.Timestamp.Valid {
		j.Timestamp = codecs.Some(codecs.FormatTime(r.Timestamp.V))
	}
	return j
}

// number is text where JSON has no number for it: a NaN, an infinity.
func number(v codecs.Null[float64]) any {
	if math.IsNaN(v.V) || math.IsInf(v.V, 0) {
		return fmt.Sprint(v.V)
	}
	return v
}

// legible is text as it is, and other bytes in base 16.
func legible(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return hex.EncodeToString(b)
}

func (r shown) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{name}, args...)...)
	}
	line("reject", "%d/%d of the rejects", r.Partition, r.Offset)
	line("source", "%s", r.Source)
	line("received", "%s", r.ReceivedAt)
	line("sensor", "%s", printable(r.SensorID))
	line("reason", "%s", r.Reason)
	line("detail", "%s", printable(r.Detail))
	line("what to do", "%s", r.Mend)
	if r.RedriveOf != "" {
		line("redrive of", "%s, first rejected as %s, waived %s", r.RedriveOf, r.Origin, printable(r.Waived))
	}
	if r.Key.Valid {
		line("key", "%q", r.Key.V)
	} else {
		line("key", "null")
	}
	for _, h := range r.Headers {
		line("header", "%s: %s", printable(h.Key), printable(h.Value))
	}
	r.writeValue(&b, line)
	for _, d := range r.Redrives {
		switch d.Outcome {
		case "pending":
			line("redriven", "as %s, which is not judged yet", d.At)
		case "accepted":
			line("redriven", "as %s: accepted, %s", d.At, d.Place)
		default:
			line("redriven", "as %s: rejected again, %s: %s", d.At, d.Place, printable(d.Detail))
		}
	}
	if len(r.Redrives) == 0 {
		line("redriven", "no")
	}
	return strings.TrimRight(b.String(), "\n")
}

func (r shown) writeValue(b *strings.Builder, line func(name, format string, args ...any)) {
	if r.Undecodable != "" {
		line("undecodable", "%s", printable(r.Undecodable))
	}
	if r.Reading != nil {
		text, err := json.Marshal(r.Reading)
		if err != nil {
			panic(err) // it holds text and finite numbers
		}
		line("reading", "%s", text)
		return
	}
	line("value", "%d bytes", r.ValueBytes)
	b.WriteString(hex.Dump(r.value[:min(len(r.value), dumpBytesMax)]))
	if more := len(r.value) - dumpBytesMax; more > 0 {
		fmt.Fprintf(b, "and %d bytes more\n", more)
	}
}

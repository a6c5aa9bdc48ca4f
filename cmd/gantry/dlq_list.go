package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gantry/processors/validate"
	"gantry/views/deadletter"
)

func newDLQList(c *cli) *cobra.Command {
	var f dlqFilter
	var limit int
	var counts bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List rejected messages",
		Long: "Lists the messages of traffic-rejects, each once, with where they were redriven to. Times are those of the first\n" +
			"arrival at traffic-raw, not of the measurement. With --json it prints one object a line.",
		Example: "  gantry dlq list --counts\n  gantry dlq list --reason speed_range,volume_range --since 24h\n" +
			"  gantry dlq list --sensor 773869 --since 2026-11-24T09:00:00Z --until 2026-11-24T10:00:00Z --json\n" +
			"  gantry dlq list --limit 20   # the newest ones",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit %d: allowed are 1 and more, and 0 for all", limit)
			}
			return c.listRejects(cmd, filter, limit, counts)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().IntVar(&limit, "limit", 0, "only so many, the newest, by arrival (default all, as they lie in the topic)")
	cmd.Flags().BoolVar(&counts, "counts", false, "only how many there are of each reason")
	return cmd
}

func (c *cli) listRejects(cmd *cobra.Command, f deadletter.Filter, limit int, counts bool) error {
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	q, err := c.deadLetters(ctx, &l.Config)
	if err != nil {
		return err
	}
	defer q.close()
	s, err := q.Select(ctx, f)
	if err != nil {
		return err
	}
	if counts {
		t := rejectCounts{ByReason: make(map[string]reasonCount)}
		if err := q.List(ctx, s, t.add); err != nil {
			return err
		}
		q.quiet()
		return c.print(t, t.String())
	}
	out := bufio.NewWriter(c.stdout)
	w := rejectWriter{w: out, json: c.json, begin: q.quiet}
	if limit == 0 {
		err = q.List(ctx, s, w.write)
	} else {
		newest := newestRejects{limit: limit}
		if err = q.List(ctx, s, newest.add); err == nil {
			err = newest.each(w.write)
		}
	}
	if err == nil {
		err = w.end()
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// rejectWriter writes a line for each reject.
type rejectWriter struct {
	w     io.Writer
	json  bool
	begin func() // is called before the first
	rows  int64
}

const rejectRow = "%-12s  %-24s  %-16s  %-16s  %-24s  %-24s  %s\n"

func (w *rejectWriter) write(e deadletter.Entry) error {
	if w.rows++; w.rows == 1 {
		w.begin()
	}
	r := newRejectJSON(e.Reject, e.Redriven)
	if w.json {
		enc := json.NewEncoder(w.w)
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	}
	if w.rows == 1 {
		fmt.Fprintf(w.w, rejectRow, "AT", "SOURCE", "REASON", "SENSOR", "RECEIVED", "REDRIVEN TO", "DETAIL")
	}
	_, err := fmt.Fprintf(w.w, rejectRow, fmt.Sprintf("%d/%d", r.Partition, r.Offset), r.Source, r.Reason,
		printable(r.SensorID), r.ReceivedAt, r.Redriven.Or("-"), printable(r.Detail))
	return err
}

// printable keeps what a message says from steering the terminal.
func printable(text string) string {
	if text == "" {
		return "-"
	}
	if quoted := fmt.Sprintf("%q", text); len(quoted) > len(text)+2 || strings.Contains(text, "\n") {
		return quoted
	}
	return text
}

func (w *rejectWriter) end() error {
	if w.json {
		return nil
	}
	w.begin()
	_, err := fmt.Fprintf(w.w, "%d rejected messages\n", w.rows)
	return err
}

// newestRejects keeps the rejects that arrived last.
type newestRejects struct {
	limit int
	kept  []deadletter.Entry
}

func (n *newestRejects) add(e deadletter.Entry) error {
	e.Value, e.Headers = nil, nil // which are not listed, and may be large
	n.kept = append(n.kept, e)
	if len(n.kept) >= 2*n.limit {
		n.cut()
	}
	return nil
}

// cut sorts by arrival and keeps the last ones.
func (n *newestRejects) cut() {
	slices.SortStableFunc(n.kept, func(a, b deadletter.Entry) int { return cmp.Compare(a.ReceivedAt, b.ReceivedAt) })
	n.kept = slices.Delete(n.kept, 0, max(0, len(n.kept)-n.limit))
}

func (n *newestRejects) each(do func(deadletter.Entry) error) error {
	n.cut()
	for _, e := range n.kept {
		if err := do(e); err != nil {
			return err
		}
	}
	return nil
}

// rejectCounts is what gantry dlq list --counts prints.
type rejectCounts struct {
	Rejects  int64                  `json:"rejects"`
	Redriven int64                  `json:"redriven"`
	ByReason map[string]reasonCount `json:"by_reason"`
}

type reasonCount struct {
	Rejects  int64 `json:"rejects"`
	Redriven int64 `json:"redriven"`
}

func (t *rejectCounts) add(e deadletter.Entry) error {
	n := t.ByReason[e.Reason.String()]
	t.Rejects++
	n.Rejects++
	if e.Redriven != nil {
		t.Redriven++
		n.Redriven++
	}
	t.ByReason[e.Reason.String()] = n
	return nil
}

func (t *rejectCounts) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "REASON\tREJECTED\tREDRIVEN")
	for _, r := range validate.Reasons() {
		if n, ok := t.ByReason[r.String()]; ok {
			fmt.Fprintf(w, "%v\t%d\t%d\n", r, n.Rejects, n.Redriven)
		}
	}
	fmt.Fprintf(w, "all\t%d\t%d\n", t.Rejects, t.Redriven)
	_ = w.Flush() // into a string
	return strings.TrimRight(b.String(), "\n")
}

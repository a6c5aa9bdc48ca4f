package race

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
)

// Measures.
const (
	measureThroughput = "throughput"
	measureLatency    = "latency"
	measureRecovery   = "recovery"
	measureArchive    = "archive"
)

const namePyarrow = "pyarrow" // a contender of the archive writer alone

// row is a line of the table.
type row struct {
	title   string
	measure string
	figure  string
	digits  int    // behind the point
	gantry  string // who stands in Gantry's column; Gantry where empty
	goals   []goal
}

// goal is a limit of Gantry's figure.
type goal struct {
	atMost  bool // otherwise at least
	limit   float64
	against string // times the figure of this contender; where empty, the limit is absolute
}

func atLeast(limit float64, against string) goal { return goal{limit: limit, against: against} }
func atMost(limit float64, against string) goal {
	return goal{atMost: true, limit: limit, against: against}
}

var rows = []row{
	{
		title: "readings/s", measure: measureThroughput, figure: readingsPerSecond,
		goals: []goal{atLeast(1.5, nameEOS), atLeast(1.2, nameALO), atLeast(0.6, nameCeiling)},
	},
	{
		title: "CPU s per million", measure: measureThroughput, figure: cpuPerMillion, digits: 2,
		goals: []goal{atMost(0.6, nameEOS)},
	},
	{title: "broker's CPU s per million", measure: measureThroughput, figure: brokerCPUPerMillion, digits: 2},
	{
		title: "peak memory, MiB", measure: measureThroughput, figure: peakMiB,
		goals: []goal{atMost(1.0/3, nameEOS)},
	},
	{
		title: "all roles, readings/s", measure: measureThroughput, figure: readingsPerSecond, gantry: nameAll,
		goals: []goal{atLeast(0.7, nameGantry)},
	},
	{title: "all roles, archived/s", measure: measureThroughput, figure: archivedPerSecond, gantry: nameAll},
	{
		title: "all roles, CPU s per million", measure: measureThroughput, figure: cpuPerMillion, digits: 2,
		gantry: nameAll,
	},
	{title: "all roles, peak memory, MiB", measure: measureThroughput, figure: peakMiB, gantry: nameAll},
	{title: "latency p50, ms", measure: measureLatency, figure: p50},
	{title: "latency p90, ms", measure: measureLatency, figure: p90},
	{title: "latency p99, ms", measure: measureLatency, figure: p99, goals: []goal{atMost(50, "")}},
	{title: "latency p99.9, ms", measure: measureLatency, figure: p999},
	{
		title: "CPU at that rate, % of a core", measure: measureLatency, figure: cpuPercent,
		goals: []goal{atMost(0.5, nameEOS)},
	},
	{
		title: "kill to first record, s", measure: measureRecovery, figure: firstRecord, digits: 2,
		goals: []goal{atMost(1, nameEOS)},
	},
	{title: "kill to last partition, s", measure: measureRecovery, figure: lastPartition, digits: 2},
	{title: "kill to all visible, s", measure: measureRecovery, figure: lastVisible, digits: 2},
	{
		title: "archive rows per CPU s", measure: measureArchive, figure: rowsPerCPUSecond,
		goals: []goal{atLeast(1, namePyarrow)},
	},
}

// others are the columns beside Gantry's.
var others = []struct{ title, name string }{
	{"Streams EOS", nameEOS},
	{"Streams ALO", nameALO},
	{"stock goka", nameGoka},
	{"ceiling", nameCeiling},
	{namePyarrow, namePyarrow},
}

// table renders results in Markdown: medians, with the lowest and highest of several runs. What was not measured is
// blank.
func table(results []result) string {
	var b strings.Builder
	b.WriteString("| measure | goal | Gantry |")
	for _, o := range others {
		b.WriteString(" " + o.title + " |")
	}
	b.WriteString(" ratio |\n|" + strings.Repeat("---|", len(others)+4) + "\n")
	for _, r := range rows {
		name := r.gantry
		if name == "" {
			name = nameGantry
		}
		own, measured := spreadOf(results, r.measure, name, r.figure)
		if !measured {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s |", r.title, r.goal(), r.cell(own))
		for _, o := range others {
			cell := ""
			if s, ok := spreadOf(results, r.measure, o.name, r.figure); ok && r.gantry == "" {
				cell = r.cell(s)
			}
			b.WriteString(" " + cell + " |")
		}
		b.WriteString(" " + r.ratios(results, own) + " |\n")
	}
	return b.String()
}

func (r *row) goal() string {
	var parts []string
	for _, g := range r.goals {
		sign := "≥"
		if g.atMost {
			sign = "≤"
		}
		text := sign + " " + strconv.FormatFloat(math.Round(g.limit*100)/100, 'f', -1, 64)
		if g.against != "" {
			text += " × " + titleOf(g.against)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func (r *row) cell(s spread) string {
	text := digits(s.median, r.digits)
	if s.min != s.max {
		text += fmt.Sprintf(" (%s to %s)", digits(s.min, r.digits), digits(s.max, r.digits))
	}
	return text
}

// ratios says how Gantry's figure stands to each goal's, and whether that is met.
func (r *row) ratios(results []result, own spread) string {
	var parts []string
	for _, g := range r.goals {
		v, text := own.median, ""
		if g.against != "" {
			against, ok := spreadOf(results, r.measure, g.against, r.figure)
			if !ok {
				continue
			}
			v /= against.median
			text = fmt.Sprintf("%.2f × %s: ", v, titleOf(g.against))
		}
		if v >= g.limit && !g.atMost || v <= g.limit && g.atMost {
			text += "met"
		} else {
			text += "**missed**"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func titleOf(name string) string {
	for _, o := range others {
		if o.name == name {
			return o.title
		}
	}
	return "dedup,window" // Gantry's usual roles, where all of them are compared
}

// digits writes a number with thousands separated.
func digits(v float64, behind int) string {
	text := strconv.FormatFloat(v, 'f', behind, 64)
	whole, rest, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return whole
}

// The table shows medians, the spread of several runs, and whether a goal is met; what was not measured is no row, and
// no goal.
func TestTable(t *testing.T) {
	figures := func(contender string, run int, rate, memory float64) result {
		return result{
			Measure: measureThroughput, Contender: contender, Run: run,
			Figures: map[string]float64{readingsPerSecond: rate, peakMiB: memory},
		}
	}
	got := table([]result{
		figures(nameGantry, 1, 500_000, 200), figures(nameGantry, 2, 400_000, 200),
		figures(nameGantry, 3, 450_000, 200),
		figures(nameEOS, 1, 250_000, 550), figures(nameALO, 1, 400_000, 800),
		{Measure: measureLatency, Contender: nameGantry, Figures: map[string]float64{p99: 49.6}},
	})
	want := `| measure | goal | Gantry | Streams EOS | Streams ALO | stock goka | ceiling | pyarrow | ratio |
|---|---|---|---|---|---|---|---|---|
| readings/s | ≥ 1.5 × Streams EOS, ≥ 1.2 × Streams ALO, ≥ 0.6 × ceiling | 450,000 (400,000 to 500,000) | 250,000 ` +
		`| 400,000 |  |  |  | 1.80 × Streams EOS: met, 1.12 × Streams ALO: **missed** |
| peak memory, MiB | ≤ 0.33 × Streams EOS | 200 | 550 | 800 |  |  |  | 0.36 × Streams EOS: **missed** |
| latency p99, ms | ≤ 50 | 50 |  |  |  |  |  | met |
`
	if got != want {
		t.Errorf("got\n%s\nnot\n%s", got, want)
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{1, 2, 3}, 0.5, 2},
		{[]float64{1, 2, 3, 4}, 0.5, 2},
		{[]float64{1, 2, 3, 4}, 0.99, 4},
		{[]float64{1, 2, 3, 4}, 0, 1},
		{[]float64{1, 2, 3, 4}, 1, 4},
	} {
		if got := quantile(c.values, c.q); got != c.want {
			t.Errorf("quantile(%v, %v) = %v, not %v", c.values, c.q, got, c.want)
		}
	}
}

package test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"gantry/codecs"
	"gantry/test/harness"
	"gantry/test/suite"
	"gantry/views/ledger"
)

// The commands on rejected messages, as a user types them, while the pipeline runs: all are listed with their reasons,
// a rule that is waived lets its readings through once, what is too late stays so, and in the end the ledger adds up and
// the archive holds each reading once.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	path, _ := harness.Mixed(t, 8, 60) // half an hour: its windows are remembered
	fast := appendDefects(t, path)
	data := t.TempDir()
	d := start(t, replaying(t, path, data))
	before := harness.Follow(t, d.Brokers(), func(o *harness.Outcomes) bool {
		return int64(len(o.Readings)+len(o.Rejects)) >= d.Total && o.Counted() >= int64(len(o.Readings))
	})
	dlq := func(code int, result any, args ...string) string {
		t.Helper()
		args = append([]string{"dlq"}, args...)
		got, stdout, stderr := run(t, append(args, "--json", "--kafka.brokers", d.Brokers()[0], "--registry.url",
			d.RegistryURL())...)
		if got != code {
			t.Fatalf("%v: exit code %d, not %d\n%s%s", args, got, code, stdout, stderr)
		}
		if code == 0 {
			if err := json.Unmarshal([]byte(stdout), result); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, stdout)
			}
		}
		return stderr
	}

	reasons, sources := make(map[string]int), make(map[string]string)
	_, list, _ := run(t, "dlq", "list", "--json", "--kafka.brokers", d.Brokers()[0], "--registry.url", d.RegistryURL())
	for line := range strings.Lines(list) {
		var r struct {
			Source, Reason, Detail string
			SensorID               string `json:"sensor_id"`
			Redriven               *string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		reasons[r.Reason]++
		sources[r.Reason] = r.Source
		if !strings.HasPrefix(r.Detail, r.Reason) || r.Redriven != nil {
			t.Errorf("%s", line)
		}
	}
	if !maps.Equal(reasons, before.Reasons()) {
		t.Errorf("listed are %v, not %v", reasons, before.Reasons())
	}

	type result struct {
		Sent, Refused   int
		AlreadyRedriven int `json:"already_redriven"`
		RejectedAgain   int `json:"rejected_again"`
	}
	waived := 0
	for _, reason := range []string{"speed_range", "too_old"} {
		var counts struct {
			ByReason map[string]struct{ Rejects int } `json:"by_reason"`
		}
		dlq(0, &counts, "list", "--counts") // one with several defects is a reject of the next by now
		n := counts.ByReason[reason].Rejects
		var first, second result
		dlq(0, &first, "redrive", "--waive", reason)
		dlq(0, &second, "redrive", "--waive", reason)
		if n < reasons[reason] || first.Sent != n || second.Sent != 0 || second.AlreadyRedriven != n {
			t.Errorf("%s: of %d rejects %+v, then %+v", reason, n, first, second)
		}
		waived += n
	}
	var broken result
	dlq(0, &broken, "redrive", "--reason", "undecodable", "--yes")
	if broken.Refused != reasons["undecodable"] || broken.Refused == 0 || broken.Sent != 0 {
		t.Errorf("undecodable: %+v", broken)
	}
	if text := dlq(1, nil, "redrive", sources["undecodable"]); !strings.Contains(text, "not all messages") {
		t.Errorf("an undecodable message that is named: %s", text)
	}
	if text := dlq(1, nil, "show", "traffic-raw/0/999999"); !strings.Contains(text, "no such reject") {
		t.Errorf("show of nothing: %s", text)
	}

	total := len(before.Readings) + len(before.Rejects) + waived
	seen := harness.Follow(t, d.Brokers(), func(o *harness.Outcomes) bool {
		return len(o.Readings)+len(o.Rejects) >= total && o.Counted() >= int64(len(o.Readings))
	})
	var shown struct {
		Redrives []struct{ At, Outcome string }
		Reading  struct {
			Speed float64 `json:"speed_mph"`
		}
	}
	dlq(0, &shown, "show", sources["speed_range"])
	if len(shown.Redrives) != 1 || shown.Redrives[0].Outcome == "pending" || shown.Reading.Speed == 0 {
		t.Errorf("%+v", shown)
	}
	harness.Archived(t, d.Brokers(), seen)
	d.Stop()

	o, report := suite.Inspect(t, folder(data))
	totals := report.Totals
	if report.Verdict != ledger.VerdictClean || !totals.Balanced() || totals.Redriven != int64(waived) ||
		totals.RedrivenAccepted+totals.RedrivenRejected != int64(waived) || totals.RedrivenAccepted != int64(fast) {
		report.WriteText(t.Output())
		t.Error("the ledger is not clean")
	}
	if n := len(o.Readings) - len(before.Readings); int64(n) != totals.RedrivenAccepted {
		t.Errorf("%d readings more, and %d redriven ones were accepted", n, totals.RedrivenAccepted)
	}
	harness.ArchiveHolds(t, folder(data).ArchiveURL(), o)
}

// appendDefects adds readings that are fast and nothing else, and a line that is no reading.
func appendDefects(t *testing.T, path string) (fast int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(bytes.Lines(text))
	var decoder codecs.RawDecoder
	for _, line := range lines[:3] {
		var r codecs.RawReading
		if err := decoder.Decode(line, &r); err != nil {
			t.Fatal(err)
		}
		r.Timestamp.V, r.SpeedMPH = r.Timestamp.V+1234, codecs.Some(150.0) // a time that no other reading has
		lines = append(lines, append(codecs.AppendRawJSON(nil, &r), '\n'))
		fast++
	}
	suite.Write(t, path, string(bytes.Join(lines, nil))+"no reading\n")
	return fast
}

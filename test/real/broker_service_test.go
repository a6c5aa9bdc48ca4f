package real

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gantry/test/harness"
)

const serversScript = "../servers/servers.sh"

// broker is the Kafka of test/servers, which a test may end and start.
type broker struct{ t *testing.T }

// ownBroker returns the broker that the tests talk to, or skips the test where it is not that of test/servers.
func ownBroker(t *testing.T) broker {
	t.Helper()
	b := broker{t}
	out, err := exec.Command(serversScript, "env").Output()
	if err != nil || !strings.Contains(string(out), "GANTRY_KAFKA_BROKERS="+setting(t, "GANTRY_KAFKA_BROKERS")+"\n") {
		t.Skipf("GANTRY_KAFKA_BROKERS is not the Kafka of %s with its settings of now: it cannot be stopped", serversScript)
	}
	if b.pid() == 0 {
		t.Skip("the Kafka of test/servers does not run")
	}
	t.Cleanup(func() {
		b.signal(syscall.SIGCONT)
		b.start()
	})
	return b
}

func (b broker) script(args ...string) string {
	b.t.Helper()
	out, err := exec.Command(serversScript, args...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s %q: %v\n%s", serversScript, args, err, out)
	}
	return string(out)
}

func (b broker) kill()  { b.t.Helper(); b.script("kill", "kafka") }
func (b broker) start() { b.t.Helper(); b.script("start", "kafka") }

// pid is 0 while the broker does not run.
func (b broker) pid() int {
	b.t.Helper()
	_, text, _ := strings.Cut(strings.TrimSpace(b.script("status", "kafka")), "pid ")
	pid, _ := strconv.Atoi(text)
	return pid
}

func (b broker) signal(s syscall.Signal) {
	if pid := b.pid(); pid != 0 {
		_ = syscall.Kill(pid, s) // it may just have ended
	}
}

// service is a gantry run whose HTTP a test asks as an operator does.
type service struct {
	*harness.Process
	t   *testing.T
	url string
}

func serve(t *testing.T, state, archiveURL string, args ...string) *service {
	t.Helper()
	address := harness.FreeAddress(t)
	p := launch(t, "real-0", state, archiveURL, append(args, "--http.listen", address)...)
	return &service{Process: p, t: t, url: "http://" + address}
}

func (s *service) get(path string) (status int, body []byte) {
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(s.url + path)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	body, _ = io.ReadAll(resp.Body)
	return resp.StatusCode, body
}

func (s *service) alive(what string) {
	s.t.Helper()
	select {
	case <-s.Exited:
		s.t.Fatalf("%s has ended while a test waited for: %s", s.Name, what)
	default:
	}
}

// ready waits until every role works.
func (s *service) ready() {
	s.t.Helper()
	harness.Await(s.t, "readiness", func() bool {
		s.alive("readiness")
		status, _ := s.get("/readyz")
		return status == http.StatusOK
	})
}

// unready waits until readiness is refused with a reason that says all of this, and returns the reason.
func (s *service) unready(says ...string) (detail string) {
	s.t.Helper()
	what := fmt.Sprintf("a 503 that says %q", says)
	var last string
	defer func() {
		if s.t.Failed() {
			s.t.Logf("last answer of /readyz: %s", last)
		}
	}()
	harness.Await(s.t, what, func() bool {
		s.alive(what)
		status, body := s.get("/readyz")
		last = string(body)
		var problem struct{ Detail string }
		if status != http.StatusServiceUnavailable || json.Unmarshal(body, &problem) != nil {
			return false
		}
		detail = problem.Detail
		for _, text := range says {
			if !strings.Contains(detail, text) {
				return false
			}
		}
		return true
	})
	return detail
}

// metric is the value of a line of /metrics; 0 where there is none.
func (s *service) metric(name string) float64 {
	_, body := s.get("/metrics")
	lines := bufio.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, _ := strconv.ParseFloat(text, 64)
			return v
		}
	}
	return 0
}

func (s *service) errors(kind string) float64 {
	return s.metric(fmt.Sprintf("stream_processor_errors_total{type=%q}", kind))
}

func (s *service) megabytes() float64 { return s.metric("process_resident_memory_bytes") / (1 << 20) }

// logged counts the lines that a process that has exited had logged in a time.
func (s *service) logged(from, to time.Time) (n int) {
	lines := bufio.NewScanner(bytes.NewReader(s.Log.Bytes()))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Time time.Time }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Time.After(from) && line.Time.Before(to) {
			n++
		}
	}
	return n
}

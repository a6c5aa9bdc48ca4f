package processors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs/registry"
	"gantry/store"
)

// Whatever stops a processor has a stable type, also wrapped, and what a user can do about it is said.
func TestErrorTypeOf(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, tt := range []struct {
		err    error
		kind   string
		advice string
	}{
		{dial, ErrorBroker, "kafka.brokers"},
		{io.EOF, ErrorBroker, "kafka.brokers"},
		{kerr.NotLeaderForPartition, ErrorBroker, ""},
		{errNoLeader, ErrorBroker, ""},
		{kerr.NotEnoughReplicas, ErrorReplicas, "min.insync.replicas"},
		{errReplicas, ErrorReplicas, "min.insync.replicas"},
		{kerr.MessageTooLarge, ErrorRecordSize, "max.message.bytes"},
		{store.ErrRecordSize, ErrorRecordSize, "max.message.bytes"},
		{kerr.UnknownTopicOrPartition, ErrorTopic, ""},
		{kerr.UnknownTopicID, ErrorTopic, ""},
		{ErrTopicChanged, ErrorTopic, ""},
		{store.ErrForeignState, ErrorTopic, ""},
		{kerr.TopicAuthorizationFailed, ErrorAuthorization, "READ or WRITE"},
		{&kgo.ErrGroupSession{Err: kerr.GroupAuthorizationFailed}, ErrorAuthorization, "READ on the consumer group"},
		{kerr.ClusterAuthorizationFailed, ErrorAuthorization, "IDEMPOTENT_WRITE"},
		{kerr.SaslAuthenticationFailed, ErrorAuthorization, "kafka.sasl"},
		{errRefused, ErrorAuthorization, "kafka-acls"},
		{syscall.ENOSPC, ErrorDisk, "state.dir"},
		{registry.ErrUnavailable, ErrorRegistry, ""},
		{store.ErrOvertaken, ErrorProcessor, ""},
		{ErrInstanceTaken, ErrorProcessor, ""},
		{errors.New("anything"), ErrorProcessor, ""},
	} {
		wrapped := fmt.Errorf("send to traffic-events/3: %w", tt.err)
		if kind, advice := ErrorTypeOf(wrapped), Advice(wrapped); kind != tt.kind || !strings.Contains(advice, tt.advice) {
			t.Errorf("%v: %s, %q, want %s with %q", tt.err, kind, advice, tt.kind, tt.advice)
		}
	}
}

// A condition counts every failure, and logs a bounded number of lines however often it is tried: when it begins, a line
// a minute, and its end. Two causes that take turns do not flood either.
func TestConditionIsQuiet(t *testing.T) {
	var out bytes.Buffer
	reg := prometheus.NewRegistry()
	c := NewCondition("it cannot work", slog.New(slog.NewTextHandler(&out, nil)), reg)
	now := time.Unix(0, 0)
	c.now = func() time.Time { return now }
	const seconds = 180
	for range seconds {
		c.Fail(io.EOF)
		now = now.Add(time.Second)
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("%d lines in 3 minutes:\n%s", n, out.String())
	}
	var counted dto.Metric
	if err := Errors(reg).WithLabelValues(ErrorBroker).Write(&counted); err != nil {
		t.Fatal(err)
	}
	if n := counted.GetCounter().GetValue(); n != seconds {
		t.Errorf("%v failures are counted, not %d", n, seconds)
	}
	out.Reset()
	for i := range 60 {
		c.Fail([]error{io.EOF, syscall.ENOSPC}[i%2])
		now = now.Add(time.Second)
	}
	if n := strings.Count(out.String(), "\n"); n > 6 {
		t.Errorf("%d lines in a minute of two causes:\n%s", n, out.String())
	}
	if text := c.Trouble(); !strings.Contains(text, "it cannot work") || !strings.Contains(text, "state.dir") {
		t.Errorf("trouble: %q", text)
	}
	out.Reset()
	c.Clear()
	c.Clear()
	if n := strings.Count(out.String(), "\n"); n != 1 || c.Trouble() != "" || c.Err() != nil {
		t.Errorf("%d lines, trouble %q after the end", n, c.Trouble())
	}
}

// TestConditionThatComesAndGoes is logged a bounded number of times too, with an end for each beginning that was logged: a
// processor that fails soon after each start is an outage, as one that does not start.
func TestConditionThatComesAndGoes(t *testing.T) {
	var out bytes.Buffer
	c := NewCondition("it cannot work", slog.New(slog.NewTextHandler(&out, nil)), nil)
	now := time.Unix(0, 0)
	c.now = func() time.Time { return now }
	for range 60 {
		c.Fail(io.EOF)
		c.Clear()
		now = now.Add(time.Second)
	}
	begun, over := strings.Count(out.String(), "trying again"), strings.Count(out.String(), "over: ")
	if begun != over || begun == 0 || begun > 6 {
		t.Errorf("%d beginnings and %d ends in a minute:\n%s", begun, over, out.String())
	}
	out.Reset()
	c.Fail(io.EOF)
	for range 11 { // one that stays is said, though it was quiet at first
		now = now.Add(time.Second)
		c.Fail(io.EOF)
	}
	if n := strings.Count(out.String(), "trying again"); n != 1 {
		t.Errorf("%d beginnings:\n%s", n, out.String())
	}
}

func watched(id byte, partitions int, insync ...int32) kadm.TopicDetail {
	d := kadm.TopicDetail{Topic: "t", ID: kadm.TopicID{id}, Partitions: kadm.PartitionDetails{}}
	for p := range int32(partitions) {
		d.Partitions[p] = kadm.PartitionDetail{Partition: p, ISR: insync}
	}
	return d
}

// What clients do not tell of topics is noticed. What changes what the state was made from is final, and is told before
// anything that may pass.
func TestTopicWatch(t *testing.T) {
	noLeader := watched(1, 2, 1)
	noLeader.Partitions[1] = kadm.PartitionDetail{Partition: 1, Leader: -1, ISR: []int32{1}}
	readOnly := watched(1, 2, 1)
	readOnly.AuthorizedOperations = []kadm.ACLOperation{kadm.OpRead, kadm.OpDescribe}
	for _, tt := range []struct {
		name  string
		topic kadm.TopicDetail
		kind  string // "": nothing is wrong
		final bool
		says  string
	}{
		{"as it was", watched(1, 2, 1), "", false, ""},
		{"missing", kadm.TopicDetail{Err: kerr.UnknownTopicOrPartition}, ErrorTopic, false, "topic t"},
		{"created again", watched(2, 2, 1), ErrorTopic, true, "created again"},
		{"more partitions", watched(1, 3, 1), ErrorTopic, true, "3 partitions, topics.partitions is 2"},
		{"no leader", noLeader, ErrorBroker, false, "partition 1 of t"},
		{"too few replicas", watched(1, 2), ErrorReplicas, false, "0, min.insync.replicas is 1"},
		{"read only", readOnly, ErrorAuthorization, false, "WRITE topic t"},
		{"not to be seen", kadm.TopicDetail{Err: kerr.TopicAuthorizationFailed}, ErrorAuthorization, false, "topic t"},
	} {
		w := &topicWatch{
			needs:      []Access{topicAccess("gone"), topicAccess("t", kadm.OpRead, kadm.OpWrite)},
			partitions: 2, insync: map[string]int{"t": 1},
		}
		other := watched(9, 2, 1)
		before := w.judge(kadm.TopicDetails{"gone": other, "t": watched(1, 2, 1)})
		if before != nil {
			t.Fatalf("%s: %v before anything is wrong", tt.name, before)
		}
		err := w.judge(kadm.TopicDetails{"gone": other, "t": tt.topic})
		switch {
		case tt.kind == "" && err != nil, tt.kind != "" && (err == nil || ErrorTypeOf(err) != tt.kind):
			t.Errorf("%s: %v", tt.name, err)
		case err != nil && !strings.Contains(err.Error(), tt.says):
			t.Errorf("%s: %q does not say %q", tt.name, err, tt.says)
		case Final(err) != tt.final:
			t.Errorf("%s: final is %v", tt.name, Final(err))
		}
		if err := w.judge(kadm.TopicDetails{"t": tt.topic}); tt.final && !Final(err) {
			t.Errorf("%s: %v hides what is final", tt.name, err)
		}
	}
}

// Whatever a process does, a user that has what Topics.Access names for it is missed nothing by the watch.
func TestWatchWantsWhatAccessNames(t *testing.T) {
	topics := DefaultTopics()
	topics.Keyed = false
	for bits := range 16 {
		u := Uses{Dedup: bits&1 > 0, Window: bits&2 > 0, Archive: bits&4 > 0, Serve: bits&8 > 0}
		m := new(Monitor)
		m.Watch(topics.Access(u), topics.Partitions)
		details := make(kadm.TopicDetails)
		for _, need := range m.watch.needs {
			d := watched(1, topics.Partitions, 1)
			d.Topic, d.AuthorizedOperations = need.Name, need.Operations
			details[need.Name] = d
		}
		if err := m.watch.judge(details); err != nil || len(details) != 6 {
			t.Errorf("%+v: %d topics: %v", u, len(details), err)
		}
	}
}

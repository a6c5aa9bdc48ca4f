package processors

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refuse answers a request of the stage's kind with an error of authorization.
func refuse(req kmsg.Request) kmsg.Response {
	switch req := req.(type) {
	case *kmsg.ProduceRequest:
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	case *kmsg.FetchRequest:
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	case *kmsg.JoinGroupRequest:
		resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode = kerr.GroupAuthorizationFailed.Code
		return resp
	case *kmsg.InitProducerIDRequest:
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
		return resp
	}
	return nil
}

// TestRefused: a stage whose user may not read, write, join its group, or write idempotently, waits, says which right is
// missing, and goes on once it is granted, with nothing lost and nothing doubled.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		key  kmsg.Key
		says []string
	}{
		{"write", kmsg.Produce, []string{"TOPIC_AUTHORIZATION_FAILED", "out", "WRITE"}},
		{"read", kmsg.Fetch, []string{"TOPIC_AUTHORIZATION_FAILED", "read in/", "READ"}},
		{"group", kmsg.JoinGroup, []string{"GROUP_AUTHORIZATION_FAILED", "the group count", "READ on the consumer group"}},
		{"idempotent write", kmsg.InitProducerID, []string{"CLUSTER_AUTHORIZATION_FAILED", "IDEMPOTENT_WRITE"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, cluster := brokerCluster(t)
			const keys, each = 10, 20
			produce(t, k, 0, keys*each, keys)
			var granted atomic.Bool
			cluster.ControlKey(int16(tt.key), func(req kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				if granted.Load() {
					return nil, nil, false
				}
				return refuse(req), nil, true
			})
			s := countingStage(t, k, t.TempDir())
			s.Metrics = prometheus.NewRegistry()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			eventually(t, "it says what is missing", func() bool {
				for _, text := range tt.says {
					if !strings.Contains(s.Trouble(), text) {
						return false
					}
				}
				return true
			})
			var counted dto.Metric
			if err := Errors(s.Metrics).WithLabelValues(ErrorAuthorization).Write(&counted); err != nil {
				t.Fatal(err)
			}
			if counted.GetCounter().GetValue() == 0 {
				t.Error("no error of the type authorization is counted")
			}
			granted.Store(true)
			verifyOut(t, k, keys, each)
			eventually(t, "nothing is wrong any more", func() bool { return s.Trouble() == "" })
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		})
	}
}

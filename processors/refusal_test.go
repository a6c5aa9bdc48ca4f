package processors

import (
	"context"
	"errors"
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

// TestInstanceTaken: a process whose instance name another one has taken ends, and says why. It used to join again, which
// threw the other one out, which joined again.
func TestInstanceTaken(t *testing.T) {
	k, cluster := brokerCluster(t)
	cluster.ControlKey(int16(kmsg.Heartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = kerr.FencedInstanceID.Code
		return resp, nil, true
	})
	if err := countingStage(t, k, t.TempDir()).Run(t.Context()); !errors.Is(err, ErrInstanceTaken) {
		t.Fatal(err)
	}
}

// TestMayNotSee: a topic that the user may not see is not said to be missing, and one whose settings it may not see is not
// said to be right: what is missing is the right.
func TestMayNotSee(t *testing.T) {
	k, cluster := brokerCluster(t)
	topics := DefaultTopics()
	cluster.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		metadata := req.(*kmsg.MetadataRequest)
		if len(metadata.Topics) != 1 || !metadata.IncludeTopicAuthorizedOperations {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic = metadata.Topics[0].Topic
		switch *topic.Topic {
		case string(topics.Rejects):
			topic.ErrorCode = kerr.TopicAuthorizationFailed.Code
		case string(topics.Raw):
			topic.AuthorizedOperations = 1 << kmsg.ACLOperationDescribe
		default:
			topic.AuthorizedOperations = 1<<kmsg.ACLOperationDescribe | 1<<kmsg.ACLOperationDescribeConfigs
		}
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	err := k.CheckAccess(t.Context(), topics.AccessToCheck())
	if err == nil || !strings.Contains(err.Error(), "may not DESCRIBE_CONFIGS topic traffic-raw, "+
		"DESCRIBE+DESCRIBE_CONFIGS topic traffic-rejects: grant it") {
		t.Fatal(err)
	}
}

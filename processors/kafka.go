package processors

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Kafka says how to reach the cluster. Every client of the process is made here, so that what must not be left to a
// library's default stands in one place, with its reason.
type Kafka struct {
	Brokers  []string
	Version  sarama.KafkaVersion // of the protocol that goka's sarama speaks; at most the oldest broker's
	TLS      *tls.Config         // nil: plain text
	SASL     SASL
	ClientID string
	// Instance, where it is set, makes members of consumer groups static: a restart within the session time-out moves
	// no partition.
	Instance string
	// BatchBytesMax is the memory that a compressed batch may take when it is unpacked, and that what a client has
	// fetched may take per broker; 0 is BatchBytesMaxDefault. See ErrBatchTooLarge.
	BatchBytesMax int
}

// SASL are the credentials; without a mechanism there are none.
type SASL struct {
	Mechanism string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string
	Password  string
}

// Group membership. The session time-out is the broker's lower limit: it is the pause that a crash costs.
const (
	sessionTimeout    = 6 * time.Second
	heartbeatInterval = 500 * time.Millisecond
	rebalanceTimeout  = 2 * time.Minute // recovery of a table runs inside; a dead member is found by the session
)

// Options returns the settings of every kgo client.
func (k Kafka) Options() []kgo.Opt {
	limit := k.BatchBytesMax
	if limit == 0 {
		limit = BatchBytesMaxDefault
	}
	unpack := newUnpacker(limit)
	opts := []kgo.Opt{
		kgo.SeedBrokers(k.Brokers...),
		kgo.ClientID(k.ClientID),
		kgo.DialTimeout(5 * time.Second),
		// Metadata is asked for again soon: topics have just been created when a process starts.
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.WithDecompressor(unpack),
		kgo.WithHooks(unpack),
	}
	if k.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(k.TLS))
	}
	if m := k.SASL.mechanism(); m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts
}

// MemberOptions returns the settings of a client that is a member of a consumer group. Offsets are committed by whoever
// knows what is done, never by the client on its own.
func (k Kafka) MemberOptions(group goka.Group) []kgo.Opt {
	opts := append(k.Options(),
		kgo.ConsumerGroup(string(group)),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(heartbeatInterval),
	)
	if k.Instance != "" {
		opts = append(opts, kgo.InstanceID(k.Instance))
	}
	return opts
}

func (s SASL) mechanism() sasl.Mechanism {
	switch s.Mechanism {
	case "PLAIN":
		return plain.Auth{User: s.User, Pass: s.Password}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism()
	}
	return nil
}

// Admin returns an administration client; the caller closes it.
func (k Kafka) Admin() (*kadm.Client, error) {
	client, err := kgo.NewClient(k.Options()...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	return kadm.NewClient(client), nil
}

// Sarama returns a new configuration for the clients that goka builds: table recovery, views, topic management. A
// configuration is never shared, because builders change the one that they are given.
func (k Kafka) Sarama() *sarama.Config {
	c := goka.DefaultConfig() // keeps goka's co-partitioning strategy
	c.ClientID = k.ClientID
	c.Version = k.Version
	// A table is read from its beginning where nothing is stored; "newest" would skip it.
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.IsolationLevel = sarama.ReadCommitted
	c.Consumer.Return.Errors = true
	// Unlimited by default: a partition consumer that never gives up also never reports.
	c.Consumer.Retry.Backoff = 250 * time.Millisecond
	// Memory per partition while a table is read: 1 MiB a fetch, 256 decoded messages.
	c.Consumer.Fetch.Default = 1 << 20
	c.ChannelBufferSize = 256
	// A broker that is away for more than a second would stop every processor: wait a minute for metadata.
	c.Metadata.Retry.Max = 240
	c.Metadata.Retry.Backoff = 250 * time.Millisecond
	// Nothing is produced through sarama. Were something, it would have to be acknowledged by all and in order.
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Producer.Retry.Max = 240
	c.Net.MaxOpenRequests = 1
	c.Net.DialTimeout = 5 * time.Second
	if k.TLS != nil {
		c.Net.TLS.Enable = true
		c.Net.TLS.Config = k.TLS
	}
	if k.SASL.Mechanism != "" {
		c.Net.SASL.Enable = true
		c.Net.SASL.Mechanism = sarama.SASLMechanism(k.SASL.Mechanism)
		c.Net.SASL.User, c.Net.SASL.Password = k.SASL.User, k.SASL.Password
		if k.SASL.Mechanism != sarama.SASLTypePlaintext {
			c.Net.SASL.SCRAMClientGeneratorFunc = newSCRAMClient(k.SASL.Mechanism)
		}
	}
	return c
}

// TopicManager returns goka's topic manager. Topics are created in one step before any processor starts (EnsureTopics);
// goka only checks them, and refuses a table with another number of partitions than its input. It compares the number
// of replicas too, which is the operator's business, so it is told what there is.
func (k Kafka) TopicManager(replicas int) goka.TopicManagerBuilder {
	tm := goka.NewTopicManagerConfig()
	tm.NoCreate = true
	tm.MismatchBehavior = goka.TMConfigMismatchBehaviorFail
	tm.Table.Replication = replicas
	return func(brokers []string) (goka.TopicManager, error) {
		m, err := goka.NewTopicManager(brokers, k.Sarama(), tm)
		if err != nil {
			return nil, err
		}
		return topicManager{m}, nil
	}
}

// topicManager accepts a loop topic of any retention and replication: goka would refuse one that keeps its records
// longer than an hour.
type topicManager struct{ goka.TopicManager }

func (m topicManager) EnsureStreamExists(topic string, partitions int) error {
	have, err := m.Partitions(topic)
	if err != nil {
		return fmt.Errorf("partitions of %s: %w", topic, err)
	}
	if len(have) != partitions {
		return fmt.Errorf("topic %s has %d partitions, the input has %d", topic, len(have), partitions)
	}
	return nil
}

// Consumer returns the builder of goka's plain consumers, with a configuration for each.
func (k Kafka) Consumer() goka.SaramaConsumerBuilder {
	return func(brokers []string, clientID string) (sarama.Consumer, error) {
		c := k.Sarama()
		c.ClientID = clientID
		return sarama.NewConsumer(brokers, c)
	}
}

// Reachable waits for the cluster, and says why it cannot be reached when ctx ends first.
func (k Kafka) Reachable(ctx context.Context) error {
	adm, err := k.Admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err = adm.BrokerMetadata(try)
		cancel()
		if err == nil {
			return nil
		}
		if advice := misconfigured(err); advice != "" {
			return fmt.Errorf("%w: %v: %w: %s", ErrMisconfigured, k.Brokers, err, advice)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kafka at %v cannot be reached: %w", k.Brokers, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

package feed

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"gantry/cmd/gantry/config"
)

// batchBytesMax is the largest batch that is sent: the default limit of a broker.
const batchBytesMax = 1_000_000

// Connection gives the client options that reach the brokers of a configuration.
func Connection(k config.Kafka) ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(k.Brokers...), kgo.ClientID("gantry-feed")}
	tls, err := k.TLS.Config()
	if err != nil {
		return nil, err
	}
	if tls != nil {
		opts = append(opts, kgo.DialTLSConfig(tls))
	}
	login := scram.Auth{User: k.SASL.User, Pass: k.SASL.Password}
	switch k.SASL.Mechanism {
	case "":
	case "PLAIN":
		opts = append(opts, kgo.SASL(plain.Auth{User: login.User, Pass: login.Pass}.AsMechanism()))
	case "SCRAM-SHA-256":
		opts = append(opts, kgo.SASL(login.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		opts = append(opts, kgo.SASL(login.AsSha512Mechanism()))
	default:
		return nil, fmt.Errorf("kafka.sasl.mechanism %q is not known", k.SASL.Mechanism)
	}
	return opts, nil
}

// newProducer makes a client that places records where they say, and keeps the order of a partition: idempotent (the
// library's default, stated by the acks that it needs), and done for at the first loss that it detects.
func newProducer(conn []kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(conn[:len(conn):len(conn)],
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.StopProducerOnDataLossDetected(),
		kgo.ProducerBatchMaxBytes(batchBytesMax),
		kgo.ManualFlushing(), // rounds decide what is sent together
		kgo.MaxBufferedRecords(roundBytesMax/recordOverhead+1),
	)...)
}

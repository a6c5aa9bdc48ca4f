package feed

import "github.com/twmb/franz-go/pkg/kgo"

// batchBytesMax is the largest batch that is sent: the default limit of a broker.
const batchBytesMax = 1_000_000

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

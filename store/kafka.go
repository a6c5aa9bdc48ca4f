package store

import (
	"context"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	producerLinger     = 5 * time.Millisecond
	bufferedRecordsMax = 16_384
	bufferedBytesMax   = 16 << 20
	// Batches stay below the max.message.bytes that topics have by default, so that Gantry runs on topics that somebody
	// else has made. Topics that carry raw messages onwards, with headers besides, take larger ones: as large as their
	// own limit allows, and at most this, which brokers take in one request.
	batchBytesMax      = 1_000_000
	largeBatchBytesMax = 64 << 20
	batchBytesMin      = 1 << 10 // kgo's
	batchOverhead      = 1 << 10
)

// RecordBytesMax returns the size of the largest record that may be sent to topics with this max.message.bytes.
func RecordBytesMax(messageBytes int) int {
	return min(messageBytes, largeBatchBytesMax) - batchOverhead
}

// outer returns the record that holds kr as its first field. It spares a closure for every record sent.
func outer(kr *kgo.Record) *record { return (*record)(unsafe.Pointer(kr)) }

// kafka is the transport of production.
type kafka struct {
	client, large *kgo.Client
	topics        []string // go through large
}

// NewKafkaTransport returns a transport on producer clients of its own. batchBytes is the smallest max.message.bytes of
// the topics that are not large: the limit holds for batches, and a broker that lowered it would refuse a batch of small
// records as a whole. Records of the large topics may be as large as
// recordBytesMax; a topic goes through one client as a whole, because between two there is no order. opts carry the
// brokers and their security; everything on which the order depends is set here.
func NewKafkaTransport(
	batchBytes int, large []string, recordBytesMax int, opts ...kgo.Opt,
) (Transport, error) {
	k := kafka{topics: large}
	var err error
	if k.client, err = newProducer(min(batchBytes, batchBytesMax), opts); err != nil {
		return nil, err
	}
	if k.large, err = newProducer(recordBytesMax+batchOverhead, opts); err != nil {
		k.client.Close()
		return nil, err
	}
	return k, nil
}

func newProducer(batchBytes int, opts []kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(opts[:len(opts):len(opts)],
		kgo.RequiredAcks(kgo.AllISRAcks()),             // with idempotence, which is kgo's default: no loss, no reordering
		kgo.RecordPartitioner(kgo.ManualPartitioner()), // the lane knows the partition; a second opinion could differ
		kgo.StopProducerOnDataLossDetected(),           // fail instead of going on behind a gap
		kgo.ProducerLinger(producerLinger),
		// Send blocks above: memory stays bounded while the broker is away. A larger record would be refused.
		kgo.MaxBufferedRecords(bufferedRecordsMax),
		kgo.MaxBufferedBytes(max(bufferedBytesMax, 2*batchBytes)),
		kgo.ProducerBatchMaxBytes(int32(max(batchBytes, batchBytesMin))),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)...)
}

func (k kafka) Send(r *kgo.Record, acked func(*kgo.Record, error)) {
	client := k.client
	for _, topic := range k.topics {
		if r.Topic == topic {
			client = k.large
		}
	}
	client.Produce(context.Background(), r, acked)
}

func (k kafka) Close() {
	k.client.Close()
	k.large.Close()
}

// RecordBytes bounds what a record takes in a batch.
func RecordBytes(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value) + 64
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value) + 16
	}
	return n
}

package store

import (
	"context"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	producerLinger     = 5 * time.Millisecond
	bufferedRecordsMax = 50_000
	bufferedBytesMax   = 64 << 20
	batchBytesMax      = 2 << 20
)

// outer returns the record that holds kr as its first field. It spares a closure for every record sent.
func outer(kr *kgo.Record) *record { return (*record)(unsafe.Pointer(kr)) }

// kafka is the transport of production.
type kafka struct{ client *kgo.Client }

// NewKafkaTransport returns a transport on a producer client of its own. opts carry the brokers and their security;
// everything on which the order depends is set here.
func NewKafkaTransport(opts ...kgo.Opt) (Transport, error) {
	client, err := kgo.NewClient(append(opts,
		kgo.RequiredAcks(kgo.AllISRAcks()),                // with idempotence, which is kgo's default: no loss, no reordering
		kgo.RecordPartitioner(kgo.ManualPartitioner()),    // the lane knows the partition; a second opinion could differ
		kgo.StopProducerOnDataLossDetected(),              // fail instead of going on behind a gap
		kgo.ProducerLinger(producerLinger),                //
		kgo.MaxBufferedRecords(bufferedRecordsMax),        // Send blocks above: memory stays bounded while the broker is away
		kgo.MaxBufferedBytes(bufferedBytesMax),            //
		kgo.ProducerBatchMaxBytes(batchBytesMax),          // below the topics' max.message.bytes
		kgo.ProducerBatchCompression(kgo.NoCompression()), //
	)...)
	if err != nil {
		return nil, err
	}
	return kafka{client}, nil
}

func (k kafka) Send(r *kgo.Record, acked func(*kgo.Record, error)) {
	k.client.Produce(context.Background(), r, acked)
}

func (k kafka) Close() { k.client.Close() }

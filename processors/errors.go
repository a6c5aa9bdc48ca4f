package processors

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs/registry"
	"gantry/store"
)

// Types of errors in stream_processor_errors_total. Each is something that is tried again by itself; one that keeps
// counting needs somebody to look. ErrorTypeOf gives the type of an error.
const (
	ErrorProcessor     = "processor"     // a processor stopped and was built anew, for a reason that has no type of its own
	ErrorBroker        = "broker"        // the brokers did not answer
	ErrorReplicas      = "replicas"      // fewer replicas are in sync than min.insync.replicas asks for
	ErrorRecordSize    = "record_size"   // a topic's max.message.bytes is smaller than what has to go there
	ErrorTopic         = "topic"         // a topic is missing, was re-created, or has another number of partitions
	ErrorAuthorization = "authorization" // the brokers refuse the user, or an operation of its
	ErrorDisk          = "disk"          // the folder of the state cannot be written
	ErrorLost          = "lost"          // records were deleted before they were read
	ErrorBatch         = "batch"         // a compressed batch takes more memory than it may, unpacked
	ErrorRegistry      = "registry"      // the registry did not answer
	ErrorEvent         = "event"         // a record of traffic-events could not be read
	ErrorArchive       = "archive"       // a batch could not be archived
)

var errorTypes = []string{
	ErrorProcessor, ErrorBroker, ErrorReplicas, ErrorRecordSize, ErrorTopic, ErrorAuthorization, ErrorDisk, ErrorLost,
	ErrorBatch, ErrorRegistry, ErrorEvent, ErrorArchive,
}

// Errors returns the counter of errors by type. reg may be nil.
func Errors(reg prometheus.Registerer) *prometheus.CounterVec {
	errs := store.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stream_processor_errors_total", Help: "Errors that were met and are tried again, by type.",
	}, []string{"type"}))
	for _, t := range errorTypes {
		errs.WithLabelValues(t) // a type that has not occurred is 0, not absent
	}
	return errs
}

// ErrTopicChanged: a topic is not the one that the state was made from, or no longer has its number of partitions. No
// other try mends that, and going on would count readings twice or not at all.
var ErrTopicChanged = errors.New("a topic has changed under the pipeline")

// ErrInstanceTaken: another process has joined the group under this one's instance name. If this one joined again, it
// would throw the other one out, and so on: neither would work.
var ErrInstanceTaken = errors.New("another process runs as this instance; give each one an instance and a state.dir of " +
	"its own")

// Final tells whether another try, or something that an operator does to the servers, does not mend an error: the
// process ends with it.
func Final(err error) bool {
	return isAny(err, store.ErrForeignState, ErrTopicChanged, ErrInstanceTaken)
}

// ErrorTypeOf returns the type of an error that stopped a processor or a client of the brokers, ErrorProcessor where it
// has none of its own.
func ErrorTypeOf(err error) string {
	switch {
	case isAny(err, store.ErrForeignState, ErrTopicChanged, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InconsistentTopicID):
		return ErrorTopic
	case isAny(err, refusals...):
		return ErrorAuthorization
	case errors.Is(err, ErrBatchTooLarge):
		return ErrorBatch
	case isAny(err, kerr.MessageTooLarge, kerr.RecordListTooLarge, store.ErrRecordSize):
		return ErrorRecordSize
	case isAny(err, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, errReplicas):
		return ErrorReplicas
	case isAny(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO):
		return ErrorDisk
	case isAny(err, registry.ErrUnavailable, registry.ErrUnauthorized):
		return ErrorRegistry
	case isAway(err):
		return ErrorBroker
	}
	return ErrorProcessor
}

// refusals are the answers of brokers to a user who may not, or whom they do not know.
var refusals = []error{
	kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
	kerr.TransactionalIDAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, errRefused,
}

// isAway tells whether an error says that brokers cannot be reached, or do not have a partition to offer.
func isAway(err error) bool {
	var network net.Error
	var kafka *kerr.Error
	switch {
	case errors.As(err, &network), isAny(err, io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded, sarama.ErrOutOfBrokers,
		sarama.ErrNotConnected, kgo.ErrRecordTimeout, errNoLeader):
		return true
	case errors.As(err, &kafka):
		return kafka.Retriable
	}
	return false
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// Advice says what to do about an error, in half a sentence; nothing where its own text does.
func Advice(err error) string {
	switch ErrorTypeOf(err) {
	case ErrorBroker:
		return "waiting for the brokers; if they are up, check kafka.brokers, kafka.tls, kafka.sasl and the network"
	case ErrorReplicas:
		return "start the brokers that are missing, or lower min.insync.replicas of the topic"
	case ErrorRecordSize:
		return "raise max.message.bytes of the topic; gantry topics check says what it needs"
	case ErrorDisk:
		return "free space below state.dir; nothing is lost, and it goes on by itself"
	case ErrorAuthorization:
		return refusalAdvice(err)
	}
	return ""
}

func refusalAdvice(err error) string {
	grant := "grant the user what is missing (kafka-acls --add)"
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		grant = "grant the user DESCRIBE and what it does with the topic, READ or WRITE"
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		grant = "grant the user READ on the consumer group"
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		grant = "grant the user IDEMPOTENT_WRITE on the cluster to write, CREATE to make topics"
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism):
		return "check kafka.sasl; it is tried again"
	}
	return grant + "; it is tried again"
}

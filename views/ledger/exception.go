package ledger

import (
	"fmt"
	"strings"

	"gantry/codecs"
)

// Kind says in which way a record does not fit.
type Kind string

// The kinds of exceptions.
const (
	KindMissingOutcome   Kind = "missing_outcome"   // a raw record has neither a reading nor a reject
	KindTwoOutcomes      Kind = "two_outcomes"      // a raw record has both a reading and a reject
	KindUnfitOutcome     Kind = "unfit_outcome"     // an outcome does not follow from its raw record
	KindUnequalRepeat    Kind = "unequal_repeat"    // a record repeats an identity with other content
	KindNoSource         Kind = "no_source"         // an outcome names a raw record that does not exist
	KindMalformed        Kind = "malformed"         // a record is not of the form that its topic promises
	KindWrongPartition   Kind = "wrong_partition"   // a record lies where its key does not belong
	KindSequenceGap      Kind = "sequence_gap"      // readings of a sensor are missing between two others
	KindSequenceReused   Kind = "sequence_reused"   // another reading of the sensor has this sequence
	KindOutOfOrder       Kind = "out_of_order"      // readings of a sensor are not numbered in the order of their sources
	KindLateAccepted     Kind = "late_accepted"     // a reading was accepted although its window was forgotten
	KindWindowDiffers    Kind = "window_differs"    // a window is not the one that the readings before it make
	KindWindowUnexpected Kind = "window_unexpected" // nothing before it closes or revises the window
	KindWindowMissing    Kind = "window_missing"    // a window was due and has not been published
	KindRedrivenTwice    Kind = "redriven_twice"    // two raw records send the same reject again
	KindRedriveUnfit     Kind = "redrive_unfit"     // a raw record sends again what was not rejected
	KindAbsentOffset     Kind = "absent_offset"     // an offset of an outcome topic holds no record
	KindDeletedUnread    Kind = "deleted_unread"    // records were deleted before they were read
)

// Exception is something that does not fit, and where.
type Exception struct {
	Kind      Kind   `json:"kind"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	SensorID  string `json:"sensor_id,omitempty"`
	Text      string `json:"text"`
}

// String begins with the place, TOPIC/PARTITION/OFFSET.
func (x Exception) String() string {
	sensor := ""
	if x.SensorID != "" {
		sensor = fmt.Sprintf(" sensor %.64q:", x.SensorID)
	}
	return fmt.Sprintf("%s/%d/%d %s:%s %s", x.Topic, x.Partition, x.Offset, x.Kind, sensor, x.Text)
}

// exceptionsKept is how many exceptions a report holds. All are counted; a topic that is wholly wrong must not fill
// the memory.
const exceptionsKept = 1000

func (l *Ledger) except(kind Kind, at codecs.Source, sensor, format string, args ...any) {
	l.byKind[kind]++
	if len(l.exceptions) == exceptionsKept {
		return
	}
	l.exceptions = append(l.exceptions, Exception{
		Kind:      kind,
		Topic:     at.Topic,
		Partition: at.Partition,
		Offset:    at.Offset,
		SensorID:  strings.Clone(sensor), // it may alias a record
		Text:      fmt.Sprintf(format, args...),
	})
}

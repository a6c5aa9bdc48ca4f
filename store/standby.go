package store

import (
	"fmt"
	"sync/atomic"
)

// Standby is the table of a partition that another process owns, kept current from the changelog, so that taking the
// partition over reads no more than the tail. It only reads: it has no lane, so nothing is sent, marked or written
// again, and the end of recovery, which would start one, is never declared. What it may hold and store is what a
// recovery that was broken off might: a prefix of the changelog, merged by applied, with the stored offset held before
// records that are older than what the table has. So whoever opens the folder next, this process as owner or as standby
// again, goes on from there as after a crash.
//
// It is for one goroutine.
type Standby struct {
	table  *Table
	failed atomic.Pointer[error] // of a flush
}

// OpenStandby opens the partition's table to follow the changelog with. While it is open goka cannot open it: it has to
// be closed before the partition is set up.
func (e *Engine) OpenStandby(partition int32) (*Standby, error) {
	s := new(Standby)
	s.table = e.newTable(partition, nil, func(err error) { s.failed.CompareAndSwap(nil, &err) })
	if err := s.table.Open(); err != nil {
		return nil, err
	}
	return s, nil
}

// Next is the changelog offset to read on from.
func (s *Standby) Next() int64 {
	s.table.mu.RLock()
	defer s.table.mu.RUnlock()
	return s.table.offset + 1
}

// Apply takes the record of the changelog at offset; value is nil for a tombstone. Records come in the order of the
// log, those below Next change nothing. After an error the table is to be closed.
func (s *Standby) Apply(key string, value []byte, offset int64) error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	if offset < s.Next() {
		return nil
	}
	var err error
	if value == nil {
		err = s.table.Delete(key)
	} else {
		err = s.table.Set(key, value)
	}
	if err != nil {
		return fmt.Errorf("changelog offset %d: %w", offset, err)
	}
	return s.table.SetOffset(offset)
}

// Close writes what was applied and closes the table.
func (s *Standby) Close() error { return s.table.Close() }

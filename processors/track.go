package processors

// track is what a member knows of a partition that it routes.
type track struct {
	scanned int64 // everything below that overtakes has been sent ahead; -1 before the first scan
	handed  int64 // behind the last record that was handed on
	routed  int64 // behind the last record that the handler has routed
	runs    []run // handed on, and not committed when last asked; oldest first
	head    int64 // record time of the next record to be handed on
	waiting bool  // whether head is known
	latest  int64 // record time of the last record that was handed on
	any     bool  // whether there was one
}

// run is a batch that was handed on.
type run struct{ last, time int64 }

// wait notes the time of the record that is next, and tells whether that is news.
func (t *track) wait(ms int64) bool {
	news := !t.waiting || t.head != ms
	t.head, t.waiting = ms, true
	return news
}

// hand notes that the first n records of the batch are handed on; the markers behind them too where these are all.
func (t *track) hand(b *Batch, n int) {
	last := b.Last()
	if n < len(b.Records) {
		last = b.Records[n-1].Offset
	}
	t.handed = last + 1
	if n == 0 {
		return
	}
	t.runs = append(t.runs, run{last, b.Records[0].Timestamp.UnixMilli()})
	t.latest, t.any = b.Records[n-1].Timestamp.UnixMilli(), true
	t.waiting = n < len(b.Records)
	if t.waiting {
		t.head = b.Records[n].Timestamp.UnixMilli()
	}
}

// committed forgets what lies below next.
func (t *track) committed(next int64) {
	n := 0
	for n < len(t.runs) && t.runs[n].last < next {
		n++
	}
	t.runs = t.runs[n:]
}

// position returns the record time of what lies at next: of the batch that holds it, else of the record that waits.
// Where none does, what comes is not older than what was there.
func (t *track) position(next int64) (ms int64, ok bool) {
	if t.scanned < 0 {
		return 0, false // what overtakes has to be found first, so everybody waits
	}
	for _, r := range t.runs {
		if r.last >= next {
			return r.time, true
		}
	}
	if t.waiting {
		return t.head, true
	}
	return t.latest, t.any
}

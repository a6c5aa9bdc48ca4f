package ledger

// flags of a slot.
type slotState uint16

const (
	slotSeen      slotState = 1 << iota // the raw record was read
	slotMisrouted                       // its key is not its sensor's id, or it lies on the wrong partition
	slotMetadata                        // it is well-formed metadata, which has no outcome
	slotPlaced                          // its fingerprint includes the coordinates
	slotEnriched                        // its fingerprint includes what metadata adds to the reading
	slotAccepted                        // a reading names it as its source
	slotRejected                        // a reject names it as its source
	slotOnLoop                          // it waits on the loop topic
)

// slot is what a ledger remembers of one raw offset: 20 bytes, whatever the record's size. Digests of 32 bits, with a
// seed that is new for each ledger, overlook one alteration in four billion, and no alteration can be made to fit.
type slot struct {
	fields  uint32 // what a reading of it must hold; 0, which nothing hashes to but by chance, where it can have none
	bytes   uint32 // what a reject of it must hold
	content uint32 // the first outcome; a repeat must equal it
	sensor  uint32 // number of its sensor's name, 0 where unknown
	state   slotState
	reason  uint8 // of its reject: index into reasons
}

const (
	slotPageBits = 12
	slotPageLen  = 1 << slotPageBits
)

// slots holds the slots of one raw partition by offset, in pages, so that it grows without copying and a range that was
// deleted costs nothing.
type slots struct {
	pages map[int64]*[slotPageLen]slot
	last  *[slotPageLen]slot // the page of the last lookup: lookups come in runs
	page  int64
}

func newSlots() slots { return slots{pages: make(map[int64]*[slotPageLen]slot), page: -1} }

// at returns the slot of an offset, and makes it where there is none.
func (s *slots) at(offset int64) *slot {
	page := offset >> slotPageBits
	if page != s.page {
		p := s.pages[page]
		if p == nil {
			p = new([slotPageLen]slot)
			s.pages[page] = p
		}
		s.last, s.page = p, page
	}
	return &s.last[offset&(slotPageLen-1)]
}

// get returns the slot of an offset, empty where there is none.
func (s *slots) get(offset int64) slot {
	if p := s.pages[offset>>slotPageBits]; p != nil {
		return p[offset&(slotPageLen-1)]
	}
	return slot{}
}

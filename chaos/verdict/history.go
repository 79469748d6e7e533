// Package verdict compares the committed rows with the records in the topics. It is pure: it takes a history, and returns a tally for each
// fault and the findings. So its tests are histories made by hand, each with one thing wrong.
package verdict

import "time"

// History is everything that is known after one round.
type History struct {
	Spans    []Span        // the faults, in the order of time; the first begins before any row
	Rows     []Row         // the committed rows, in commit order, from the server's WAL
	Records  []Record      // the records in the topics; those of one partition in the order of its log
	Samples  []Sample      // the slot's confirmed position, in the order of time
	Claims   []Claim       // what the writers know
	Purges   []Purge       // topics that were deleted and created again
	Refusals []Refusal     // when the brokers refused events
	Blocked  []Blocked     // when topics took no records, and their events were parked
	Skew     time.Duration // how wrong the relay's clock was at times
}

// Refusal is a time in which the brokers refused some events of a topic. Begin is before the first and End after the last one. The other
// fields say which events: each that is set has to fit. If an event does not fit, the brokers took it.
type Refusal struct {
	Topic      string
	Begin, End time.Time
	Reason     string        // the code in its dead letter
	Larger     int           // events whose payload has more bytes than this; which of them are refused depends on compression
	Keyless    bool          // events without a key
	Older      time.Duration // events whose created_at is this much older than their commit
}

// Blocked is a time in which a topic took no records. From Begin on its events were parked, and all other topics have to flow. Others is for how
// long the fault itself explains that they do not.
type Blocked struct {
	Topic      string
	From       time.Time // when it took no records any more, or earlier
	Begin, End time.Time
	Others     time.Duration
}

// Purge is the deletion of a topic, which was read just before. Rows that were confirmed before the reading must be among the records that were
// read. Rows that were committed after the deletion must be in the new topic. Rows in between were in flight, and may be gone with the old
// topic. They do not count as lost. They do not count for the order either, because nobody knows when they were first delivered.
type Purge struct {
	Topic     string
	Confirmed uint64    // the slot's confirmed LSN before the topic was read
	Gone      time.Time // when no broker knew the topic any more
}

// Span is the time from a fault's beginning until the next one's.
type Span struct {
	Fault     string
	Begin     time.Time
	Repeats   bool // events may be delivered again, because the relay or its session ended
	Refuses   bool // events are refused meanwhile, so those of other keys may overtake them in their partition
	Dead      int  // relays that were killed. Each may leave a request behind that is appended after those of its successor
	Overtaken bool // a relay lost its slot to another one while it was paused. When it goes on, it sends everything that it holds
}

// Row is one committed row of the outbox.
type Row struct {
	ID      string
	Topic   string
	Key     string    // empty: NULL, no order is promised
	Created time.Time // created_at, which the service sets
	// Committed is the server's time of the commit. Commit is the start of the commit record: a slot that is confirmed beyond that does not
	// have the row any more.
	Committed time.Time
	Commit    uint64
	// Content is a hash of everything that consumers get of the row: key, value and headers.
	Content uint64
	Bytes   int // of its payload
	// Parked is when its dead letter was written; zero: it has none. Settled is when the dead letter last changed, and Reason its reason.
	Parked, Settled time.Time
	Reason          string
	Waited          bool // it was not refused itself
	// Blocked is when it was parked because its topic took no records; zero: it was not. Such a row comes without being given back, and in order.
	Blocked   time.Time
	Released  bool // its dead letter says that it was published in the end
	Discarded bool // people gave it up, so it must not come
}

// Record is one record of a topic. Appended is the broker's time of the append, in whole milliseconds. In a topic whose records have the
// producer's time it is unknown, and Stamp is set instead.
type Record struct {
	ID        string
	Topic     string
	Partition int32
	Offset    int64
	Appended  time.Time
	Stamp     time.Time
	Content   uint64 // as a Row's
	Replayed  bool   // it was published from its dead letter
	Misplaced bool   // Kafka's own producers would not put this key into this partition
	// Generation counts how often the topic had been deleted when it was read.
	Generation int
}

// Sample is the slot's confirmed position at one moment. At is the time after the server's answer.
type Sample struct {
	At        time.Time
	Confirmed uint64
}

// Claim is a writer's knowledge of rows that it inserted: that their COMMIT returned, or that they can never be committed. It claims nothing
// about a COMMIT without an answer.
type Claim struct {
	IDs       []string
	Committed bool
}

// Tally has the counts of one fault.
type Tally struct {
	Committed   int           // rows
	Delivered   int           // of these, in a topic
	Exempt      int           // of these, possibly gone with a deleted topic
	Lost        int           // of these, in no topic
	Uncommitted int           // records of rows that were never committed
	Altered     int           // records that differ from their row
	Denied      int           // rows about which the writers and the server's WAL disagree
	Disordered  int           // rows that were first delivered before an earlier row of the same partition or key
	Again       int           // records beyond the first of a row
	Repeated    int           // of these, under a fault after which events must not be delivered again
	Broken      int           // redeliveries that are not a contiguous run up to the newest event of the partition
	Stray       int           // of these, more than the requests of killed or overtaken relays explain
	Parked      int           // rows that have a dead letter, or had one while their topic took no records
	Discarded   int           // of these, those that people gave up
	Held        int           // of these, those that were parked without a cause: nothing refused them, and no earlier row of their key was parked
	Revived     int           // records of rows that had been given up
	Ahead       int           // rows that were confirmed before the brokers had them, or before they were parked, and positions that the server cannot have
	Stall       time.Duration // the longest time in which nothing was appended although rows waited
}

// Add adds another tally of the same fault.
func (t *Tally) Add(o Tally) {
	t.Committed += o.Committed
	t.Delivered += o.Delivered
	t.Exempt += o.Exempt
	t.Lost += o.Lost
	t.Uncommitted += o.Uncommitted
	t.Altered += o.Altered
	t.Denied += o.Denied
	t.Disordered += o.Disordered
	t.Again += o.Again
	t.Repeated += o.Repeated
	t.Broken += o.Broken
	t.Stray += o.Stray
	t.Parked += o.Parked
	t.Discarded += o.Discarded
	t.Held += o.Held
	t.Revived += o.Revived
	t.Ahead += o.Ahead
	t.Stall = max(t.Stall, o.Stall)
}

// Broke reports whether a promise was broken, or the writers and the server's WAL disagree.
func (t Tally) Broke() bool {
	return t.Lost+t.Uncommitted+t.Altered+t.Denied+t.Disordered+t.Repeated+t.Stray+t.Held+t.Revived+t.Ahead > 0
}

// Finding is one error, or a broken run, with the part of the history that shows it.
type Finding struct {
	Span int    // which fault it came under
	What string // lost, uncommitted, altered, disordered, repeated, broken run, stray run, held, revived, ahead, or claim
	Text string
}

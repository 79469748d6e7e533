// Package verdict compares what was committed with what stands in the topics. It is pure: a history goes in, a tally for each fault and
// the findings come out. So it is tested by histories made by hand, each with one thing wrong.
package verdict

import "time"

// History is all that one round left behind.
type History struct {
	Spans   []Span        // the faults, in the order of time; the first begins before any row
	Rows    []Row         // what was committed, in the order of the commits, as the server's WAL tells it
	Records []Record      // what the topics hold; of each partition in the order of its log
	Samples []Sample      // how far the slot was confirmed, in the order of time
	Claims  []Claim       // what the writers know
	Purges  []Purge       // topics that were deleted and created again
	Skew    time.Duration // how far off the relay's clock was at times
}

// Purge is the deletion of a topic, which was read just before. What was confirmed before the reading has to be in what was read; what was
// committed after the deletion has to be in the new topic. What lies between was under way, and may have gone with the old topic: it counts
// neither as lost nor for the order, for nobody knows when it came first.
type Purge struct {
	Topic     string
	Confirmed uint64    // the slot's confirmed LSN before the topic was read
	Gone      time.Time // when no broker knew the topic any more
}

// Span is the time from a fault's beginning until the next one's.
type Span struct {
	Fault   string
	Begin   time.Time
	Repeats bool // events may come again: the relay or its session ended
	Dead    int  // relays that died. Each may leave a request behind that is appended after what its successor sent
}

// Row is one committed row of the outbox.
type Row struct {
	ID      string
	Topic   string
	Key     string    // empty: NULL, no order is promised
	Created time.Time // created_at, which the service sets
	// Committed is the server's time of the commit. Commit is where its record starts: a slot that is confirmed beyond that has forgotten
	// the row.
	Committed time.Time
	Commit    uint64
	// Content stands for all that consumers get of the row: key, value and headers.
	Content uint64
}

// Record is one record of a topic. Appended is the time of the broker that appended it, in whole milliseconds; of a topic with the
// producers' times nobody knows it, and Stamp is set instead.
type Record struct {
	ID        string
	Topic     string
	Partition int32
	Offset    int64
	Appended  time.Time
	Stamp     time.Time
	Content   uint64 // as a Row's
	Misplaced bool   // no producer of Kafka's would put this key into this partition
	// Generation counts how often the topic had been deleted when it was read.
	Generation int
}

// Sample is what the slot was confirmed to when the server was asked. At is when the answer had come.
type Sample struct {
	At        time.Time
	Confirmed uint64
}

// Claim is what a writer knows of rows that it inserted: that COMMIT returned, or that it never can. Of a COMMIT without an answer it
// claims nothing.
type Claim struct {
	IDs       []string
	Committed bool
}

// Tally counts what happened under one fault.
type Tally struct {
	Committed   int           // rows
	Delivered   int           // of these, in a topic
	Exempt      int           // of these, gone with a topic that somebody deleted
	Lost        int           // of these, nowhere
	Uncommitted int           // records of rows that were never committed
	Altered     int           // records that are not what the row says
	Denied      int           // rows of which the writers know otherwise than the server's WAL
	Disordered  int           // first deliveries before that of an earlier row of the same partition or key
	Again       int           // records beyond a row's first
	Repeated    int           // of these, under a fault that does not let events come again
	Broken      int           // redeliveries that are no contiguous run up to where the partition was
	Stray       int           // of these, more than the requests of dead relays account for
	Ahead       int           // rows that were confirmed before the brokers had them, and positions that are none of the server's
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
	t.Ahead += o.Ahead
	t.Stall = max(t.Stall, o.Stall)
}

// Broke reports whether a promise was broken, or the measure itself is wrong.
func (t Tally) Broke() bool {
	return t.Lost+t.Uncommitted+t.Altered+t.Denied+t.Disordered+t.Repeated+t.Stray+t.Ahead > 0
}

// Finding is one thing that is wrong, or a broken run, with the part of the history that shows it.
type Finding struct {
	Span int    // which fault it came under
	What string // lost, uncommitted, altered, disordered, repeated, broken run, stray run, ahead, or claim
	Text string
}

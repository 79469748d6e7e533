package lane

// Identity is what a lane numbers its records with. A lane begins with one, so that it can go on where another process stopped. It gets a
// new one when the broker and the lane disagree, or when it would be dangerous to use sequences again.
//
// One sequence of a producer always means one event: a broker answers "success" to a sequence that it has seen, whatever the content.
type Identity struct {
	Cluster  string // the cluster that gave the producer id, and alone knows it; "": it does not tell
	Producer int64
	Epoch    int16
	Next     int32 // sequence of the next record that has none yet
}

// advance takes n sequences and returns the first. Sequences wrap from 2^31-1 to 0.
func (id *Identity) advance(n int32) int32 {
	first := id.Next
	id.Next = addSequence(first, n)
	return first
}

func addSequence(s, n int32) int32 { return int32((int64(s) + int64(n)) & (1<<31 - 1)) }

package lane

// Identity is a producer id, with the sequence that the lane's next record gets. A new lane is given one, so that it can go on where
// another process stopped. It gets a new one when the broker and the lane disagree on the sequence, or when it would be dangerous to use
// sequences again.
//
// A sequence of a producer id always stands for the same event. A broker answers "success" to a sequence that it has seen before, whatever
// the records are.
type Identity struct {
	Cluster  string // the cluster that gave the producer id, and the only one that knows it; "": brokers do not tell their cluster
	Producer int64
	Epoch    int16
	Next     int32 // sequence of the next record that has no sequence yet
}

// fenced returns the same producer id with the next epoch, whose sequences begin with 0. When the broker has appended a batch of that epoch,
// it refuses batches of the former one: what may still be on its way comes to nothing. Only this sink uses the producer id, so it may count the
// epochs of each partition itself; Kafka's Java producer does the same (TransactionManager.bumpIdempotentProducerEpoch). Behind the last epoch
// comes one that the broker refuses, and the lane gets a new producer id.
func (id Identity) fenced() Identity {
	id.Epoch, id.Next = id.Epoch+1, 0
	return id
}

// advance takes n sequences and returns the first one. After 2^31-1, sequences continue with 0.
func (id *Identity) advance(n int32) int32 {
	first := id.Next
	id.Next = addSequence(first, n)
	return first
}

func addSequence(s, n int32) int32 { return int32((int64(s) + int64(n)) & (1<<31 - 1)) }

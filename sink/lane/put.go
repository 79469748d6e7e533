package lane

// PutFirst puts batches before everything that has no sequences yet, if the lane accepts events for a topic with this number of partitions. If
// allowed is not nil, it is asked at a moment at which no event of the lane is at the sieve; if it returns false, or if some are there, nothing
// is put. put reports whether the lane has the batches, and route whether the caller has to route the lane.
func (l *Lane) PutFirst(batches []*Batch, partitions int, allowed func() bool) (put, route bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.partitions != partitions || l.gone || allowed != nil && (l.sifting || !allowed()) {
		return false, false
	}
	for _, b := range batches {
		b.recount()
	}
	l.full = append(append([]*Batch(nil), batches...), l.full...)
	return true, l.queueIfIdle()
}

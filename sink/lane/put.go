package lane

// PutFirst puts the batches of build before everything that has no sequences yet, if the lane accepts events for a topic with this number of
// partitions. It calls build at a moment at which no event of the lane is at the sieve. If some are there, or if build returns false, nothing is
// put. put reports whether the lane has the batches, and route whether the caller has to route the lane.
func (l *Lane) PutFirst(partitions int, build func() ([]*Batch, bool)) (put, route bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(l.partitions) != partitions || l.gone || l.sifting {
		return false, false
	}
	batches, ok := build()
	if !ok {
		return false, false
	}
	for _, b := range batches {
		b.recount()
	}
	l.full = append(append([]*Batch(nil), batches...), l.full...)
	return true, l.queueIfIdle()
}

// PutLast puts batches behind everything that the lane has, also behind the batch that the publishing goroutine has taken. Apart from
// that, it is like PutFirst.
func (l *Lane) PutLast(batches []*Batch, partitions int) (put, route bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(l.partitions) != partitions || l.gone {
		return false, false
	}
	for _, b := range batches {
		b.recount()
	}
	l.behind = append(l.behind, batches...)
	if !l.taken {
		l.placeBehind()
	}
	return true, l.queueIfIdle()
}

// placeBehind moves what PutLast has put to its place. l.mu is held.
func (l *Lane) placeBehind() {
	if len(l.behind) == 0 {
		return
	}
	if l.open != nil {
		l.full = append(l.full, l.open)
		l.open = nil
	}
	l.full, l.behind = append(l.full, l.behind...), nil
}

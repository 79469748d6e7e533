package sink

import (
	"walpost/sink/metadata"
	"walpost/sink/recordbatch"
)

// readLimit sets the limit of batches to what the topic allows, as brokers told it last. Without the permission to ask, the configured one
// stays: the default fits into the brokers' default.
func (t *topic) readLimit(p *Producer) bool {
	limit, ok := t.allowed(p)
	if ok {
		t.limit.Store(limit)
	}
	return ok
}

// allowed returns the limit of batches by what the topic allows, and whether that is known.
func (t *topic) allowed(p *Producer) (int64, bool) {
	n, ok := p.meta.MaxMessageBytes(t.name)
	// A kilobyte for the batch's head, and for what little a codec adds to bytes that do not compress.
	return max(min(p.cfg.batchLimit(), n-1024), recordbatch.HeadLen+1), ok
}

// shrink lowers the limit after a batch of so many bytes was too large for the topic. The topic's limit is read again. Where it cannot be
// read, batches become smaller by halves. A batch from before the limit was last lowered, or from another lane at the same time, says
// nothing new. What is refused meanwhile is divided in any case.
func (t *topic) shrink(p *Producer, size int) {
	before := t.limit.Load()
	if int64(size) > before || !p.wait(p.meta.Look(t.name, metadata.Settings)) {
		return
	}
	limit, ok := t.allowed(p)
	if !ok || limit >= before {
		limit = max(before/2, 16<<10)
	}
	t.limit.CompareAndSwap(before, limit)
}

// grow follows a limit that was raised. Where it cannot be read, batches become larger by doubles until one is refused again.
func (t *topic) grow(p *Producer) {
	if before := t.limit.Load(); !t.readLimit(p) {
		t.limit.CompareAndSwap(before, min(2*before, p.cfg.batchLimit()))
	}
}

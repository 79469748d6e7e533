package sink

import (
	"walpost/sink/metadata"
	"walpost/sink/recordbatch"
)

// readLimit sets the limit of batches to what the topic allows, as of the last refresh. Without the permission to read that setting, the
// configured limit stays: its default is below the brokers' default.
func (t *topic) readLimit(p *Producer) bool {
	limit, ok := t.allowed(p)
	if ok {
		t.limit.Store(limit)
	}
	return ok
}

// allowed returns the limit of batches that follows from the topic's setting, and whether that setting is known.
func (t *topic) allowed(p *Producer) (int64, bool) {
	n, ok := p.meta.MaxMessageBytes(t.name)
	// A kilobyte for the batch's head, and for the few bytes that a codec adds to data that does not compress.
	return max(min(p.cfg.batchLimit(), n-1024), recordbatch.HeadLen+1), ok
}

// shrink lowers the limit after a batch of size bytes was too large for the topic. It reads the topic's setting again. If it cannot read
// that, it halves the limit. It ignores a batch that is larger than the current limit: that batch was made before the limit was last
// lowered, or another lane has reported the same. Batches that are refused meanwhile are divided anyway.
func (t *topic) shrink(p *Producer, size int) {
	before := t.limit.Load()
	if int64(size) > before || !p.wait(p.meta.Refresh(t.name, metadata.Settings)) {
		return
	}
	limit, ok := t.allowed(p)
	if !ok || limit >= before {
		limit = max(before/2, 16<<10)
	}
	t.limit.CompareAndSwap(before, limit)
}

// grow raises the limit when the topic's setting was raised. If it cannot read that, it doubles the limit, until a batch is refused again.
func (t *topic) grow(p *Producer) {
	if before := t.limit.Load(); !t.readLimit(p) {
		t.limit.CompareAndSwap(before, min(2*before, p.cfg.batchLimit()))
	}
}

// took reads the topic's setting again if the topic took a batch that is larger than the setting was: it has been raised. Until that is known, each
// event above the former limit is a batch of its own.
func (t *topic) took(p *Producer, size int) {
	if int64(size) <= t.limit.Load() {
		return
	}
	if n, ok := p.meta.MaxMessageBytes(t.name); !ok || int64(size) <= n || !t.rereads.CompareAndSwap(false, true) {
		return
	}
	p.start(func() {
		defer t.rereads.Store(false)
		if p.wait(p.meta.Refresh(t.name, metadata.Settings)) {
			t.readLimit(p)
		}
	})
}

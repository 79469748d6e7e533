// Package breaker decides when a topic refuses everything, so that its events wait for the topic, and not each key for a person.
package breaker

import (
	"sync"

	"walpost/internal/reason"
)

// A topic that refuses so many events in a row, of so many keys, for one reason, takes no records at all: a limit was lowered, or the broker
// checks something that no event has.
const (
	Refusals = 20
	keys     = 2
)

// Breaker counts the events that a topic has refused since it last took one. The zero value is ready. Its methods may be called from any goroutine.
type Breaker struct {
	mu     sync.Mutex
	code   reason.Code
	events int
	keys   map[string]bool // of these events; an event without a key is one of its own
	alone  int             // events without a key
}

// Refused counts an event. If the topic takes no records, it returns the keys of the events that were refused, and begins anew.
func (b *Breaker) Refused(code reason.Code, key []byte) (refused [][]byte, trips bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if code != b.code {
		b.code, b.events, b.keys, b.alone = code, 0, nil, 0
	}
	b.events++
	if key == nil {
		b.alone++
	} else {
		if b.keys == nil {
			b.keys = map[string]bool{}
		}
		b.keys[string(key)] = true
	}
	if b.events < Refusals || len(b.keys)+b.alone < keys {
		return nil, false
	}
	for k := range b.keys {
		refused = append(refused, []byte(k))
	}
	b.events, b.keys, b.alone = 0, nil, 0
	return refused, true
}

// Took notes that the topic has taken an event.
func (b *Breaker) Took() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.events > 0 {
		b.events, b.keys, b.alone = 0, nil, 0
	}
}

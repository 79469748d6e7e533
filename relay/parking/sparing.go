package parking

import (
	"sync"
	"time"
)

// sparing lets one line of a kind through each minute, and counts the others.
type sparing struct {
	mu    sync.Mutex
	kinds map[string]*spared
}

type spared struct {
	logged time.Time
	others int // since then
}

// Limits of a sparing.
const (
	spareFor  = time.Minute
	mostKinds = 1000 // rows can make up topics
)

// next reports whether a line of this kind is to be logged now, and how many were not since the last one.
func (s *sparing) next(kind string) (log bool, others int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.kinds[kind]
	if one == nil {
		if s.kinds == nil || len(s.kinds) >= mostKinds {
			s.kinds = map[string]*spared{}
		}
		one = &spared{}
		s.kinds[kind] = one
	}
	if time.Since(one.logged) < spareFor {
		one.others++
		return false, 0
	}
	others = one.others
	*one = spared{logged: time.Now()}
	return true, others
}

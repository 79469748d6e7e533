package sink

import (
	"math/rand/v2"
	"time"

	"walpost/sink/kafkaerror"
)

// patience waits for what will be cured by time, or by an operator, and says in the log what for.
type patience struct {
	p     *Producer
	what  string
	topic string // for cures
	since time.Time
	tries int
	said  *time.Time // when it was last logged; a lane's own, for its waits come one after the other
}

// pause waits, longer each time and up to maxBackoff, and returns false once the producer is closed. err is why.
func (w *patience) pause(err error) bool {
	w.tell(err)
	w.tries++
	return w.p.sleep(backoff(w.tries))
}

// sleep pauses, and returns false once the producer is closed.
func (p *Producer) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// tell logs a wait that lasts: at first after two seconds, what an operator must cure at once, then every minute.
func (w *patience) tell(err error) {
	if err == nil || w.p.ctx.Err() != nil {
		return
	}
	urgent := kafkaerror.Classify(err) == kafkaerror.Alarm
	if !urgent && time.Since(w.since) < tellAfter || time.Since(*w.said) < alarmEvery {
		return
	}
	*w.said = time.Now()
	if urgent {
		w.p.log.Warn("waiting for "+w.what, "err", err, "cure", w.p.cfg.exact(kafkaerror.Cure(err), w.topic))
		return
	}
	w.p.log.Warn("waiting for "+w.what, "err", err, "for", time.Since(w.since).Round(time.Second))
}

// backoff is the pause after so many attempts: doubled each time, between three quarters and the whole of it, so that lanes that failed
// together do not come back together.
func backoff(tries int) time.Duration {
	d := min(minBackoff<<min(tries-1, 16), maxBackoff)
	return d - rand.N(d/4)
}

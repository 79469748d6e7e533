package diagnose

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"walpost/internal/diagnosis"
	"walpost/internal/reason"
	"walpost/relay/deadletter"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
)

// deadLetters reports what is parked. Parked events need a person, but they are a warning and no failure: the relay works, all other keys
// flow, and the next start does not fail because of them. A script that runs doctor before it starts the relay should go on.
func (d *diagnosing) deadLetters(ctx context.Context, db *postgres.DB) {
	const check = "dead letters"
	s, err := deadletter.Summarize(ctx, db.Conn, d.Slot)
	var strange int64
	if err == nil {
		strange, err = deadletter.CountStrange(ctx, db.Conn, d.Slot)
	}
	if err != nil {
		level := diagnosis.Failed
		if !d.park { // a relay that does not park does not need the table
			level = diagnosis.Warning
		}
		d.add(check, level, d.Classify(err, pgerror.Parking), unasked)
		return
	}
	if strange > 0 {
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("%s in walpost.dead_letters have a state that does not exist, and the table's constraint is gone", events(strange)),
			"run: ALTER TABLE walpost.dead_letters ADD CHECK (state IN ('head', 'waiting', 'retrying', 'released', 'discarded')) NOT VALID; a relay that parks makes heads of these events")
	}
	for _, t := range s.Topics {
		name := topicName(t.Topic)
		found := fmt.Sprintf("%s of topic %s parked since %s, because it takes no records", events(t.Events), name, t.Since.UTC().Format(time.RFC3339))
		if t.Detail != "" {
			found += ": " + strings.Join(strings.Fields(strings.ToValidUTF8(t.Detail, "?")), " ")
		}
		cure := "make the topic take records, then walpost publishes them; or give them up: walpost dead-letter discard --topic " + name + " --reason topic_blocked --note TEXT"
		d.parked(check, found, cure)
	}
	if s.Events == 0 && len(s.Topics) > 0 {
		return
	}
	if s.Events == 0 {
		d.list.OK(check, "nothing is parked")
		return
	}
	found := fmt.Sprintf("%s of %d keys are parked, the oldest since %s; by reason: %s", events(s.Events), s.Keys, s.Oldest.UTC().Format(time.RFC3339), byReason(s.Reasons))
	cure := "run: walpost dead-letter list --group; after you removed the cause, walpost dead-letter retry --reason " + cause(s.Reasons) +
		"; or give events up with walpost dead-letter discard ID --note TEXT"
	switch {
	case s.Back == s.Events && d.park && d.found.Slot != nil && d.found.Slot.Active:
		found += "; all are given back"
		cure = "wait: a relay streams from slot " + d.Slot + " and publishes them; if they stay parked, see walpost status and the relay's log"
	case s.Back == s.Events:
		found += "; all are given back"
		cure = "run: walpost run, which publishes them"
	case s.Back > 0:
		found += fmt.Sprintf("; %d of them are given back, and a relay that runs publishes them", s.Back)
	}
	d.parked(check, found, cure)
}

// parked reports events that are parked.
func (d *diagnosing) parked(check, found, cure string) {
	if !d.park {
		d.list.Add(check, diagnosis.Failed, found+"; with outbox.on_bad_event: halt walpost run does not begin while events are parked", "set outbox.on_bad_event: park; then "+cure)
		return
	}
	d.list.Add(check, diagnosis.Warning, found, cure)
}

func events(n int64) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

// topicName returns the name of a topic. Somebody may have edited it.
func topicName(topic string) string {
	if legalTopic.MatchString(topic) {
		return topic
	}
	return strconv.QuoteToASCII(topic)
}

var legalTopic = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// mostReasons is how many reasons doctor names.
const mostReasons = 3

// byReason counts events by reason, the most frequent ones.
func byReason(list []deadletter.ByReason) string {
	var parts []string
	others := int64(0)
	for i, r := range list {
		if i < mostReasons {
			parts = append(parts, fmt.Sprintf("%s %d", code(r.Reason), r.Events))
		} else {
			others += r.Events
		}
	}
	if others > 0 {
		parts = append(parts, fmt.Sprintf("others %d", others))
	}
	return strings.Join(parts, ", ")
}

// cause returns the most frequent reason of events that do not only wait behind another one.
func cause(list []deadletter.ByReason) string {
	for _, r := range list {
		if r.Reason != string(reason.KeyParked) && legalCode.MatchString(r.Reason) {
			return r.Reason
		}
	}
	return "CODE"
}

var legalCode = regexp.MustCompile(`^[a-z0-9_]{1,60}$`)

// code returns a reason as text. Somebody may have edited it.
func code(r string) string {
	if legalCode.MatchString(r) {
		return r
	}
	return strconv.QuoteToASCII(r)
}

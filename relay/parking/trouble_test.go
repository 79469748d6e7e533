package parking

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/internal/dbtest"
)

// When the session ends, nothing is to be parked any more, so nothing waits.
func TestWaitsEndWithTheSession(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.locked(letter(1, "a", true))
	l.Hold("")
	dbtest.Until(t, "nothing waits", func() bool { return l.Parked().Waits == "" && l.acks.is(1) == 1 })
	l.Exec("commit")
	if p := l.Parked(); p.Waits != "" || len(p.Alarms(time.Now().Add(time.Hour))) > 0 {
		t.Errorf("%+v", p)
	}
}

// What is published and cannot be recorded is an alarm, until it is recorded, or until nobody tries any more.
func TestUnrecordedReleaseIsAnAlarm(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Serve(&testSink{l: l})
	l.add(1, "1", true)
	l.Exec(`create function refuse() returns trigger language plpgsql as 'begin raise exception ''no room'' using errcode = ''53100''; end'`)
	l.Exec("create trigger refuse before update on walpost.dead_letters for each row when (new.state = 'released') execute function refuse()")
	l.Exec("update walpost.dead_letters set state = 'retrying'")
	dbtest.Until(t, "it waits", func() bool { return strings.Contains(l.Parked().Waits, "no room") })
	p := l.Parked()
	if all := p.Alarms(time.Now().Add(alarmAfter)); len(all) != 1 || all[0].Code != p.WaitsCode || !strings.HasPrefix(all[0].Text, notPublished+": ") {
		t.Errorf("alarms %+v", all)
	}
	l.Exec("drop trigger refuse on walpost.dead_letters")
	dbtest.Until(t, "it is recorded", func() bool { return l.values() == "1=released" && l.Parked().Waits == "" })
}

// A trouble that nobody has seen for a while is over, and one of no topic is no alarm.
func TestOldTrouble(t *testing.T) {
	p := &Parker{told: map[string]*trouble{
		"":  {waiting: waiting{text: "look", since: time.Unix(1, 0)}, seen: time.Now()},
		"a": {waiting: waiting{text: "old", since: time.Unix(2, 0)}, seen: time.Now().Add(-2 * troubleStays)},
	}}
	if w := p.oldestTrouble(); w != nil {
		t.Errorf("%+v", w)
	}
	p.told["b"] = &trouble{waiting: waiting{text: "new", since: time.Unix(3, 0)}, seen: time.Now()}
	if w := p.oldestTrouble(); w == nil || w.text != "new" {
		t.Errorf("%+v", w)
	}
}

// While no broker says anything of a topic, Kafka may be away: what is given back stays so.
func TestGivenBackWhileKafkaIsAway(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.absentFor = time.Millisecond
	sink := &testSink{l: l, away: reason.With(reason.KafkaUnreachable, context.DeadlineExceeded)}
	l.add(1, "1", true)
	sink.absent.Store(true)
	l.Exec("update walpost.dead_letters set state = 'retrying'")
	l.Serve(sink)
	asked := sink.asked.Load()
	dbtest.Until(t, "it was tried for a while", func() bool { return sink.asked.Load() > asked+3 })
	if got := l.values(); got != "1=retrying" {
		t.Errorf("the table has %s", got)
	}
	sink.absent.Store(false)
	dbtest.Until(t, "it is published", func() bool { return l.values() == "1=released" })
}

// What somebody has given up, or another relay has recorded, since a round was chosen is not published with it.
func TestRoundReadsWhatIsStillGivenBack(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.add(1, "1", true)
	l.add(2, "2", false)
	l.Exec("update walpost.dead_letters set state = case id when 1 then 'discarded' else 'retrying' end")
	c := l.connection()
	defer c.close()
	if err := c.inTx(t.Context(), "me", func(ctx context.Context, tx pgx.Tx) error {
		replays, err := (&round{ids: []int64{1, 2}}).read(ctx, tx)
		if len(replays) != 1 || replays[0].id != 2 {
			t.Errorf("%d replays", len(replays))
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

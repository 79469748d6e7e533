package parking

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/deadletter"
	"walpost/relay/internal/dbtest"
	"walpost/schema"
)

// While the rows of a topic are counted, others come and go. They count, too.
func TestCountTakesLong(t *testing.T) {
	k := newKeys()
	k.block(Waiting{Topic: "t"})
	k.topics["t"].Events, k.topics["t"].Bytes, k.topics["t"].pending = 10, 100, 2
	is := func(events, bytes int64) {
		t.Helper()
		if w := k.waiting()[0]; w.Events != events || w.Bytes != bytes || k.bytes() != bytes {
			t.Errorf("%d events, %d and %d bytes, want %d and %d", w.Events, w.Bytes, k.bytes(), events, bytes)
		}
	}
	rows := []deadletter.ByTopic{{Topic: "t", Events: 20, Bytes: 200}}
	before := k.counts()
	k.written([]*schema.DeadLetter{{Topic: "t", Blocked: true, Value: []byte("12345")}, {Topic: "t", Blocked: true, Value: []byte("67890")}})
	k.drained("t", 4, 40, true, nil)
	k.recount(rows, before)
	is(18, 170)
	k.recount(rows, k.counts())
	is(20, 200)
	k.recount(nil, k.counts())
	is(0, 0)
	before = k.counts()
	k.find(nil, nil) // the topic flows,
	k.find(nil, nil)
	k.block(Waiting{Topic: "t"}) // and takes no records again
	k.recount(rows, before)
	is(0, 0)
}

// Rows that were published before the first count of a session do not count.
func TestPublishedBeforeTheFirstCount(t *testing.T) {
	k := newKeys()
	k.block(Waiting{Topic: "t"})
	before := k.counts()
	k.drained("t", 5, 50, true, nil)
	if w := k.waiting()[0]; w.Events != 0 || w.Bytes != 0 {
		t.Errorf("before it: %+v", w)
	}
	k.recount([]deadletter.ByTopic{{Topic: "t", Events: 20, Bytes: 200}}, before)
	if w := k.waiting()[0]; w.Events != 15 || w.Bytes != 150 {
		t.Errorf("after it: %+v", w)
	}
}

// A row that is committed, and that the parker has not counted yet, is not counted in the table either: it would count twice.
func TestCountBetweenCommitAndNote(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.Exec("begin")
	b.Exec("lock table walpost.dead_letters in share mode")
	one := letter(1, "a", false)
	b.sink.stream(one)
	dbtest.Until(t, "it is being parked", func() bool {
		return b.Ask("select count(*) from pg_locks where relation = 'walpost.dead_letters'::regclass and not granted") == "1"
	})
	b.Parker.mu.Lock() // the parker cannot note what is committed
	b.Exec("commit")
	dbtest.Until(t, "it is committed", func() bool { return b.Ask("select count(*) from walpost.dead_letters") == "1" })
	counted := make(chan error)
	over := false
	go func() {
		c := b.connection()
		defer c.close()
		counted <- (&counter{p: b.Parker}).count(context.Background(), c)
	}()
	dbtest.Until(t, "the counter waits, or has counted", func() bool {
		select {
		case err := <-counted:
			over = true
			return err == nil
		default:
		}
		free := b.commits.TryRLock()
		if free {
			b.commits.RUnlock()
		}
		return !free
	})
	b.Parker.mu.Unlock()
	if !over {
		if err := <-counted; err != nil {
			t.Fatal(err)
		}
	}
	dbtest.Until(t, "it is parked", func() bool { return b.acks.is(1) == 1 })
	if n := b.Parked().Topics[0].Events; n != 1 {
		t.Errorf("%d events wait, want 1", n)
	}
}

// A count sees the table as it is at one moment.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1")
	c := b.connection()
	defer c.close()
	if err := c.snapshot(t.Context(), func() { b.Exec("delete from walpost.dead_letters") }, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := deadletter.Topical(ctx, tx, b.Slot)
		if len(rows) != 1 || rows[0].Events != 1 {
			t.Errorf("%+v", rows)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// The bytes of the rows are read only if their number is not what this process has counted.
func TestCountReadsBytesIfItMust(t *testing.T) {
	t.Parallel()
	b := blocked(t, reason.TopicMissing)
	b.come("a1", "b2")
	c := b.connection()
	defer c.close()
	count := func() Waiting {
		t.Helper()
		if err := (&counter{p: b.Parker}).count(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return b.Parked().Topics[0]
	}
	counted := b.Parked().Topics[0]
	b.Exec("alter table walpost.dead_letters rename column value to hidden") // what reads the bytes fails
	if w := count(); w.Events != 2 || w.Bytes != counted.Bytes {
		t.Errorf("%+v, before it %+v", w, counted)
	}
	b.Exec("alter table walpost.dead_letters rename column hidden to value")
	b.Exec("delete from walpost.dead_letters where key = 'a'")
	if w := count(); w.Events != 1 || w.Bytes != counted.Bytes/2 {
		t.Errorf("after one was deleted: %+v, before it %+v", w, counted)
	}
}

package e2e

import (
	"bytes"
	"fmt"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/proxy"
)

// kills are the steps of an event's way through walpost.dead_letters. At each one, the relay is held by means from outside, is killed there,
// and a successor goes on.
var kills = []struct {
	name string
	do   func(*testing.T, *parkedPipe)
}{
	{"before the transaction that parks", killBeforeParking},
	{"before the insert", killBeforeInsert},
	{"inserted, then committed", func(t *testing.T, k *parkedPipe) { killInserted(t, k, true, false) }},
	{"inserted, then rolled back", func(t *testing.T, k *parkedPipe) { killInserted(t, k, false, false) }},
	{"inserted, committed while the successor waits", func(t *testing.T, k *parkedPipe) { killInserted(t, k, true, true) }},
	{"inserted, rolled back while the successor waits", func(t *testing.T, k *parkedPipe) { killInserted(t, k, false, true) }},
	{"committed, but the connection was lost", loseParkingCommit},
	{"parked, an earlier event is not acked", killParkedUnconfirmed},
	{"acked, not confirmed", killAcked},
	{"confirmed", killConfirmed},
	{"before a retry is committed, then committed", func(t *testing.T, k *parkedPipe) { killRetry(t, k, true) }},
	{"before a retry is committed, then rolled back", func(t *testing.T, k *parkedPipe) { killRetry(t, k, false) }},
	{"given back, not looked at", killGivenBack},
	{"given back, the topic takes nothing", killUnpublished},
	{"published, not recorded", killPublished},
	{"recorded, then committed", func(t *testing.T, k *parkedPipe) { killRecorded(t, k, true) }},
	{"recorded, then rolled back", func(t *testing.T, k *parkedPipe) { killRecorded(t, k, false) }},
	{"the record committed, but the connection was lost", loseRecordCommit},
	{"recorded, the key does not flow", killBeforeFlow},
	{"the key flows", killFlowing},
	{"released, an earlier event is not acked", killReleasedUnconfirmed},
	{"the head discarded, not noticed", killHeadDiscarded},
	{"discarded, an earlier event is not acked", killDiscardedUnconfirmed},
	{"frozen, and a successor published it", freezeBeforeParking},
	{"frozen in the transaction that parks", freezeParking},
}

// Wherever a relay is killed, the end is the same: each event of the key has one dead letter and is released once, and the key's events arrive
// in order. Others flow all the time. An event comes twice only where the kill explains it.
func TestParkedKeyKilled(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{}) // of its own: a transaction that is held back delays the creation of slots in all databases
	for i, c := range kills {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // mostly waiting
			name := fmt.Sprintf("kill%d", i)
			if err := server.CreateDatabase(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			c.do(t, newParkedPipe(t, &pgtest.DB{Name: name, DSN: server.DSN(name), Major: server.Major()}))
		})
	}
}

// parkedPipe is a pipe with a topic for small records, and means to hold a relay at a statement.
type parkedPipe struct {
	*pipe
	topic string
	hold  *pgx.Conn // has the lock that the trigger pin waits for
	r     *relay
}

// newParkedPipe makes the pipe. Each change of a dead letter's state is written to the table history.
func newParkedPipe(t *testing.T, db *pgtest.DB) *parkedPipe {
	t.Helper()
	k := &parkedPipe{pipe: pipeOn(t, db, kafkatest.Brokers(t)).withSchema(t)}
	k.env["WALPOST_OUTBOX_ON_BAD_EVENT"] = "park"
	k.topic = k.pipe.topic(t, "order", 1, map[string]string{"max.message.bytes": "2000"})
	k.hold = k.connect(t)
	k.unchecked(t)
	k.exec(t,
		`CREATE TABLE history (seq bigint GENERATED ALWAYS AS IDENTITY, type text, was text, is_now text)`,
		`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF tg_op = 'INSERT' OR old.value IS NOT DISTINCT FROM new.value THEN -- else it is emptied
				INSERT INTO public.history (type, was, is_now) VALUES (new.type, CASE WHEN tg_op = 'UPDATE' THEN old.state END, new.state);
			END IF;
			RETURN new; END $$`,
		`CREATE TRIGGER note AFTER INSERT OR UPDATE ON walpost.dead_letters FOR EACH ROW EXECUTE FUNCTION note()`,
		// The relay's own limit for locks must not end the wait.
		`CREATE FUNCTION pin() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$ BEGIN
			PERFORM pg_advisory_xact_lock_shared(1);
			RETURN new; END $$`)
	return k
}

// insert commits events in one transaction: a1 is event 1 of key a. One with ! is too large for the topic, one with ? has unsuitable headers.
// Those of key x are for another topic, which does not exist.
func (k *parkedPipe) insert(t *testing.T, events ...string) {
	t.Helper()
	k.exec(t, "BEGIN")
	for _, e := range events {
		topic, bytes, headers := "order", 0, "{}"
		if e[0] == 'x' {
			topic = "absent"
		}
		switch e[len(e)-1] {
		case '!':
			bytes = 8000
		case '?':
			headers = "[]"
		}
		k.exec(t, fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload, headers)
			SELECT '%s', '%s', '%s', jsonb_build_object('a', coalesce(string_agg(md5(i::text), ''), '')), '%s' FROM generate_series(1, %d) i`,
			topic, e[:1], strings.TrimRight(e, "!?"), headers, bytes/32))
	}
	k.exec(t, "COMMIT")
}

// arrivals returns what is in the topic, by key: the types of the events, with :retry for those that were published again by a retry.
func (k *parkedPipe) arrivals(t *testing.T) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, rec := range flat(k.read(t, k.topic)) {
		kind, again := "", ""
		for _, h := range rec.Headers {
			switch h.Key {
			case "ce_type":
				kind = string(h.Value)
			case "walpost_replay":
				again = ":" + string(h.Value)
			}
		}
		key := string(rec.Key)
		got[key] = strings.TrimSpace(got[key] + " " + kind + again)
	}
	return got
}

// arrived waits until the topic has exactly the records of a key that a pattern says.
func (k *parkedPipe) arrived(t *testing.T, pattern string) {
	t.Helper()
	want := regexp.MustCompile("^(?:" + pattern + ")$")
	key := strings.TrimLeft(pattern, "(")[:1]
	eventually(t, "arrived: "+pattern, func() string {
		if got := k.arrivals(t)[key]; !want.MatchString(got) {
			return "it has " + got
		}
		return ""
	})
}

// states waits until walpost.dead_letters has exactly these events, in these states.
func (k *parkedPipe) states(t *testing.T, want string) {
	t.Helper()
	eventually(t, "states: "+want, func() string {
		if got := k.letters(t); got != want {
			return "they are " + got
		}
		return ""
	})
}

func (k *parkedPipe) letters(t *testing.T) string {
	t.Helper()
	return ask[string](t, k.conn, "SELECT coalesce(string_agg(type || '=' || state, ' ' ORDER BY position), '') FROM walpost.dead_letters")
}

// flow waits until the relay has no parked key.
func (k *parkedPipe) flow(t *testing.T) {
	t.Helper()
	k.r.awaitReady(t, "leader")
	eventually(t, "all keys flow", func() string {
		k.r.mustRun(t)
		if n := k.r.metrics(t)["walpost_parked_keys"]; n != 0 {
			return fmt.Sprintf("%v are parked", n)
		}
		return ""
	})
}

// pin makes a session wait before it inserts or updates a dead letter, until letGo.
func (k *parkedPipe) pin(t *testing.T, event, condition string) {
	t.Helper()
	k.exec(t, "CREATE TRIGGER pin BEFORE "+event+" ON walpost.dead_letters FOR EACH ROW WHEN ("+condition+") EXECUTE FUNCTION pin()")
	execOn(t, k.hold, "SELECT pg_advisory_lock(1)")
}

// pinCommit makes a session that has inserted or updated a dead letter wait in its commit, until letGo.
func (k *parkedPipe) pinCommit(t *testing.T, event, condition string) {
	t.Helper()
	k.exec(t, "CREATE CONSTRAINT TRIGGER pin AFTER "+event+" ON walpost.dead_letters DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ("+condition+") EXECUTE FUNCTION pin()")
	execOn(t, k.hold, "SELECT pg_advisory_lock(1)")
}

// pinned waits until pin or pinCommit makes a backend wait, and returns its process id.
func (k *parkedPipe) pinned(t *testing.T) (pid int) {
	t.Helper()
	eventually(t, "a backend waits", func() string {
		pid = ask[int](t, k.conn, `SELECT coalesce(min(pid), 0) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
		if pid == 0 {
			return "nobody waits"
		}
		return ""
	})
	return pid
}

// letGo ends what pin and pinCommit began: nobody is held back any more.
func (k *parkedPipe) letGo(t *testing.T) {
	t.Helper()
	execOn(t, k.hold, "SELECT pg_advisory_unlock(1)")
}

// end ends the backend of a dead relay: it goes on, or its transaction is rolled back.
func (k *parkedPipe) end(t *testing.T, pid int, goesOn bool) {
	t.Helper()
	if !goesOn {
		k.exec(t, fmt.Sprintf("SELECT pg_terminate_backend(%d)", pid))
	} else {
		k.letGo(t)
	}
	eventually(t, "its backend ends", func() string {
		return ask[string](t, k.conn, "SELECT coalesce((SELECT 'it is in '||state FROM pg_stat_activity WHERE pid = $1), '')", pid)
	})
	if !goesOn {
		k.letGo(t)
	}
}

// blocked waits until another backend waits for a lock of this one.
func (k *parkedPipe) blocked(t *testing.T, by int) {
	t.Helper()
	eventually(t, "somebody waits", func() string {
		return ask[string](t, k.conn, `SELECT CASE WHEN count(*) > 0 THEN '' ELSE 'nobody' END
			FROM pg_stat_activity WHERE datname = current_database() AND $1 = ANY (pg_blocking_pids(pid))`, by)
	})
}

// lockState locks the row that every transaction with dead letters locks first. COMMIT on k.hold ends that.
func (k *parkedPipe) lockState(t *testing.T) (pid int) {
	t.Helper()
	execOn(t, k.hold, "BEGIN", "SELECT FROM walpost.relay_state FOR UPDATE")
	return ask[int](t, k.hold, "SELECT pg_backend_pid()")
}

// again starts a successor. It may have to wait for the slot, or for a lock of the dead relay.
func (k *parkedPipe) again(t *testing.T) {
	t.Helper()
	k.r = k.launch(t)
}

// park commits a1, a2, a3 and b1, of which a2 is too large, and waits until a2 and a3 are parked and all is confirmed.
func (k *parkedPipe) park(t *testing.T) {
	t.Helper()
	k.insert(t, "a1", "a2!", "a3", "b1")
	k.states(t, "a2=head a3=waiting")
	k.arrived(t, "a1")
	k.arrived(t, "b1")
	k.settle(t)
}

// raise raises the limit of the topic, so that all events fit.
func (k *parkedPipe) raise(t *testing.T) {
	t.Helper()
	k.alter(t, k.topic, "max.message.bytes", "1000000")
}

// parkedAgain checks that the key is parked, gives it back, and checks the end. before is what has arrived of key a, and b of key b.
func (k *parkedPipe) parkedAgain(t *testing.T, before, b string) {
	t.Helper()
	k.states(t, "a2=head a3=waiting")
	k.insert(t, "a4", "b2")
	k.states(t, "a2=head a3=waiting a4=waiting")
	k.arrived(t, b+" b2")
	k.arrived(t, before)
	k.raise(t)
	k.mustCLI(t, "dead-letter", "retry", "--all")
	k.states(t, "a2=released a3=released a4=released")
	k.finish(t, before+" a2:retry a3:retry a4:retry", b+" b2")
}

// finish checks that both keys flow, that exactly these records have arrived, and that no state of a dead letter changed twice.
func (k *parkedPipe) finish(t *testing.T, a, b string) {
	t.Helper()
	if a != "" {
		k.arrived(t, a)
	}
	k.arrived(t, b)
	before := ""
	eventually(t, "all is released or discarded", func() string {
		before = k.letters(t)
		if strings.Contains(before, "head") || strings.Contains(before, "waiting") || strings.Contains(before, "retrying") {
			return before
		}
		return ""
	})
	k.flow(t)
	k.insert(t, "a9", "b9")
	k.arrived(t, strings.TrimSpace(a+" a9"))
	k.arrived(t, b+" b9")
	k.settle(t)
	if after := k.letters(t); after != before {
		t.Errorf("when the keys flowed, the dead letters were %s, and now they are %s", before, after)
	}
	k.audit(t)
	k.r.stop(t)
}

// audit checks the history of each dead letter.
func (k *parkedPipe) audit(t *testing.T) {
	t.Helper()
	rows, err := k.conn.Query(t.Context(), "SELECT type, coalesce(was, ''), is_now FROM history ORDER BY seq")
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string][]string{"": {"head", "waiting", "retrying"}, "head": {"retrying", "discarded"}, "waiting": {"retrying", "discarded"}, "retrying": {"released"}}
	last := map[string]string{}
	var kind, was, now string
	if _, err := pgx.ForEachRow(rows, []any{&kind, &was, &now}, func() error {
		if was != last[kind] || !slices.Contains(allowed[was], now) {
			t.Errorf("the dead letter of %s was %q and became %q, after it had been %q", kind, was, now, last[kind])
		}
		last[kind] = now
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// killBeforeParking kills the relay while its transaction waits for the row with the holder.
func killBeforeParking(t *testing.T, k *parkedPipe) {
	k.r = k.start(t)
	k.insert(t, "b0")
	k.arrived(t, "b0")
	k.settle(t)
	lock := k.lockState(t)
	k.insert(t, "a1", "a2!", "a3", "b1")
	k.arrived(t, "a1")
	k.arrived(t, "b0 b1")
	k.r.awaitOutput(t, "an event is parked")
	k.blocked(t, lock)
	k.r.kill()
	k.again(t)
	k.blocked(t, lock)
	k.states(t, "")
	execOn(t, k.hold, "COMMIT")
	k.parkedAgain(t, "a1 a1", "b0 b1 b1")
}

// killBeforeInsert kills the relay when it has sent the insert, and the server has not executed it.
func killBeforeInsert(t *testing.T, k *parkedPipe) {
	k.pin(t, "INSERT", "true")
	k.r = k.start(t)
	k.insert(t, "a1", "a2!", "a3", "b1")
	pid := k.pinned(t)
	k.insert(t, "b2")
	k.arrived(t, "a1")
	k.arrived(t, "b1 b2")
	k.r.kill()
	k.again(t)
	k.blocked(t, pid)
	k.end(t, pid, true)
	k.arrived(t, "b1 b2 b1 b2")
	k.states(t, "a2=head a3=waiting")
	k.raise(t)
	k.mustCLI(t, "dead-letter", "retry", "--all")
	k.finish(t, "a1 a1 a2:retry a3:retry", "b1 b2 b1 b2")
}

// killInserted kills the relay in the commit. Its backend commits or rolls back, before the successor starts or while it waits.
func killInserted(t *testing.T, k *parkedPipe, commit, successor bool) {
	k.pinCommit(t, "INSERT", "true")
	k.r = k.start(t)
	k.insert(t, "a1", "a2!", "a3", "b1")
	pid := k.pinned(t)
	k.arrived(t, "a1")
	k.arrived(t, "b1")
	k.r.kill()
	if successor {
		k.again(t)
		k.blocked(t, pid)
	}
	k.end(t, pid, commit)
	if !successor {
		if got := k.letters(t); strings.HasPrefix(got, "a2=head") != commit { // a3 may be in the same transaction, or not yet
			t.Fatalf("committed: %v, and the dead letters are %q", commit, got)
		}
		k.again(t)
	}
	k.parkedAgain(t, "a1 a1", "b1 b1")
}

// loseParkingCommit cuts the connection in the commit, which the server then completes. The relay lives, and parks the events again.
func loseParkingCommit(t *testing.T, k *parkedPipe) {
	sql, _, url := k.apart(t)
	k.pinCommit(t, "INSERT", "true")
	k.r = k.start(t, "WALPOST_POSTGRES_URL="+url)
	k.insert(t, "a1", "a2!", "a3", "b1")
	pid := k.pinned(t)
	sql.Cut()
	k.blocked(t, pid)
	k.end(t, pid, true)
	k.parkedAgain(t, "a1", "b1")
}

// killParkedUnconfirmed kills the relay when everything is parked, and an event before that is not acked. So all is delivered again.
func killParkedUnconfirmed(t *testing.T, k *parkedPipe) {
	k.r = k.start(t)
	k.insert(t, "x1")
	k.insert(t, "a1", "a2!", "a3", "b1")
	k.states(t, "a2=head a3=waiting")
	k.arrived(t, "a1")
	k.arrived(t, "b1")
	k.r.kill()
	k.again(t)
	k.arrived(t, "a1 a1")
	k.arrived(t, "b1 b1")
	k.topicAfterAll(t)
	k.parkedAgain(t, "a1 a1", "b1 b1")
}

// topicAfterAll creates the topic of key x, and waits until everything is confirmed.
func (k *parkedPipe) topicAfterAll(t *testing.T) {
	t.Helper()
	k.pipe.topic(t, "absent", 1, nil)
	k.settle(t)
}

// killAcked kills the relay when it counts the parked events as acked, and the server has not read its status.
func killAcked(t *testing.T, k *parkedPipe) {
	_, stream, url := k.apart(t)
	k.pinCommit(t, "INSERT", "true")
	k.r = k.start(t, "WALPOST_POSTGRES_URL="+url)
	k.insert(t, "a1", "a2!", "a3", "b1")
	k.pinned(t)
	k.arrived(t, "a1")
	k.arrived(t, "b1")
	stream.Stall(true, false)
	k.letGo(t)
	k.states(t, "a2=head a3=waiting")
	eventually(t, "nothing is in flight", func() string {
		if n := k.r.metrics(t)["walpost_inflight_bytes"]; n != 0 {
			return fmt.Sprintf("%v bytes", n)
		}
		return ""
	})
	k.r.kill()
	stream.Cut()
	k.again(t)
	k.parkedAgain(t, "a1 a1", "b1 b1")
}

// killConfirmed kills the relay when nothing is delivered again.
func killConfirmed(t *testing.T, k *parkedPipe) {
	k.r = k.start(t)
	k.park(t)
	k.r.kill()
	k.again(t)
	k.parkedAgain(t, "a1", "b1")
}

// killRetry kills a `dead-letter retry` in its commit, which the server completes or not.
func killRetry(t *testing.T, k *parkedPipe, commit bool) {
	k.r = k.start(t)
	k.park(t)
	k.raise(t)
	k.pinCommit(t, "UPDATE", "new.state = 'retrying' AND old.state = 'head'")
	retry := k.background(t, "dead-letter", "retry", "--all")
	pid := k.pinned(t)
	if err := retry.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = retry.Wait() // it was killed
	k.arrived(t, "a1")
	k.end(t, pid, commit)
	if !commit {
		k.states(t, "a2=head a3=waiting")
		k.mustCLI(t, "dead-letter", "retry", "--key", "a")
	}
	k.states(t, "a2=released a3=released")
	k.finish(t, "a1 a2:retry a3:retry", "b1")
}

// background starts a walpost command.
func (k *parkedPipe) background(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), k.program(t), args...)
	cmd.Env, cmd.Dir = k.environment(nil), k.home.Dir()
	cmd.Stderr = &bytes.Buffer{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// killGivenBack kills the relay when the key is given back, and the relay cannot take it.
func killGivenBack(t *testing.T, k *parkedPipe) {
	k.r = k.start(t)
	k.park(t)
	k.raise(t)
	lock := k.lockState(t)
	k.exec(t, "UPDATE walpost.dead_letters SET state = 'retrying'")
	k.insert(t, "a4", "b2")
	k.arrived(t, "b1 b2")
	k.blocked(t, lock)
	k.r.kill()
	k.again(t)
	k.blocked(t, lock)
	execOn(t, k.hold, "COMMIT")
	k.arrived(t, "b1 b2 b2")
	k.finish(t, "a1 a2:retry a3:retry a4(:retry)?", "b1 b2 b2")
}

// killUnpublished kills the relay when it has taken the key, and the topic is gone.
func killUnpublished(t *testing.T, k *parkedPipe) {
	k.r = k.start(t)
	k.park(t)
	k.delete(t, k.topic)
	k.mustCLI(t, "dead-letter", "retry", "--all")
	k.r.awaitOutput(t, "reason=topic_missing")
	k.r.kill()
	k.states(t, "a2=retrying a3=retrying")
	k.again(t)
	k.insert(t, "a4", "b2")
	k.r.awaitOutput(t, "reason=topic_missing")
	k.pipe.topic(t, "order", 1, nil)
	k.finish(t, "a2:retry a3:retry a4(:retry)?", "b2")
}

// delete deletes a topic.
func (k *parkedPipe) delete(t *testing.T, topic string) {
	t.Helper()
	req := kmsg.NewDeleteTopicsRequest()
	one := kmsg.NewDeleteTopicsRequestTopic()
	one.Topic = &topic
	req.Topics, req.TopicNames = append(req.Topics, one), []string{topic}
	res, err := req.RequestWith(t.Context(), k.client(t))
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("delete topic %s: %v", topic, err)
	}
}

// killPublished kills the relay when the key is published, and the relay has not recorded it. It is published again, before later events.
func killPublished(t *testing.T, k *parkedPipe) {
	k.pin(t, "UPDATE", "new.state = 'released'")
	k.r = k.start(t)
	k.park(t)
	k.raise(t)
	k.mustCLI(t, "dead-letter", "retry", "--all")
	pid := k.pinned(t)
	k.insert(t, "a4")
	k.insert(t, "b2")
	k.arrived(t, "b1 b2")
	k.arrived(t, "a1 a2:retry a3:retry")
	k.r.kill()
	k.again(t)
	k.blocked(t, pid)
	k.end(t, pid, true)
	k.finish(t, "a1 a2:retry a3:retry a2:retry a3:retry a4(:retry)?", "b1 b2 b2")
}

// killRecorded kills the relay in the commit of the record.
func killRecorded(t *testing.T, k *parkedPipe, commit bool) {
	k.pinCommit(t, "UPDATE", "new.state = 'released'")
	k.r = k.start(t)
	k.park(t)
	k.raise(t)
	k.mustCLI(t, "dead-letter", "retry", "--all")
	pid := k.pinned(t)
	k.insert(t, "a4")
	k.insert(t, "b2")
	k.arrived(t, "b1 b2")
	k.arrived(t, "a1 a2:retry a3:retry")
	k.r.kill()
	k.again(t)
	k.blocked(t, pid)
	k.end(t, pid, commit)
	twice := ""
	if !commit {
		twice = " a2:retry a3:retry"
	}
	k.finish(t, "a1 a2:retry a3:retry"+twice+" a4(:retry)?", "b1 b2 b2")
}

// loseRecordCommit cuts the connection in the commit of the record, which the server then completes. The relay lives, and records it again.
func loseRecordCommit(t *testing.T, k *parkedPipe) {
	sql, _, url := k.apart(t)
	k.pinCommit(t, "UPDATE", "new.state = 'released'")
	k.r = k.start(t, "WALPOST_POSTGRES_URL="+url)
	k.park(t)
	k.raise(t)
	k.mustCLI(t, "dead-letter", "retry", "--all")
	pid := k.pinned(t)
	k.insert(t, "a4", "b2")
	k.arrived(t, "b1 b2")
	sql.Cut()
	k.blocked(t, pid)
	k.end(t, pid, true)
	k.finish(t, "a1 a2:retry a3:retry a4(:retry)?", "b1 b2")
}

// killBeforeFlow kills the relay when the record is committed, and it cannot look whether something else of the key is parked.
func killBeforeFlow(t *testing.T, k *parkedPipe) {
	k.pinCommit(t, "UPDATE", "new.state = 'released'")
	k.r = k.start(t)
	k.park(t)
	k.raise(t)
	k.mustCLI(t, "dead-letter", "retry", "--all")
	pid := k.pinned(t)
	// Another session gets in line for the row with the holder, before the relay's next transaction.
	next := k.connect(t)
	locked := make(chan error, 1)
	go func() {
		_, err := next.Exec(t.Context(), "BEGIN; SELECT FROM walpost.relay_state FOR UPDATE")
		locked <- err
	}()
	k.blocked(t, pid)
	k.letGo(t)
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	k.states(t, "a2=released a3=released")
	k.insert(t, "a4", "b2")
	k.arrived(t, "b1 b2")
	k.r.kill()
	execOn(t, next, "COMMIT")
	k.again(t)
	k.arrived(t, "b1 b2( b2)?")
	k.finish(t, "a1 a2:retry a3:retry a4( a4)?", "b1 b2( b2)?")
}

// killFlowing kills the relay right after the key flows again.
func killFlowing(t *testing.T, k *parkedPipe) {
	k.r = k.start(t)
	k.park(t)
	k.raise(t)
	k.mustCLI(t, "dead-letter", "retry", "--all")
	k.states(t, "a2=released a3=released")
	k.flow(t)
	k.insert(t, "a4", "b2")
	k.r.kill()
	k.again(t)
	k.arrived(t, "b1 b2( b2)?")
	k.finish(t, "a1 a2:retry a3:retry a4( a4)?", "b1 b2( b2)?")
}

// killReleasedUnconfirmed kills the relay when the key is released and flows, and an event before all that is not acked. What was released
// is delivered again, and follows the earlier event of its key that is.
func killReleasedUnconfirmed(t *testing.T, k *parkedPipe) {
	k.r = k.start(t)
	k.insert(t, "x1")
	k.insert(t, "a1", "a2!", "a3", "b1")
	k.states(t, "a2=head a3=waiting")
	k.raise(t)
	k.mustCLI(t, "dead-letter", "retry", "--all")
	k.states(t, "a2=released a3=released")
	k.flow(t)
	k.insert(t, "a4", "b2")
	k.arrived(t, "a1 a2:retry a3:retry a4")
	k.arrived(t, "b1 b2")
	k.r.kill()
	k.again(t)
	k.arrived(t, "a1 a2:retry a3:retry a4 a1 a2 a3 a4") // a1 is delivered again, and so they follow it
	k.topicAfterAll(t)
	k.finish(t, "a1 a2:retry a3:retry a4 a1 a2 a3 a4", "b1 b2 b1 b2")
}

// killHeadDiscarded kills the relay before it can notice that the head is discarded. What waits behind it waits until a retry.
func killHeadDiscarded(t *testing.T, k *parkedPipe) {
	k.r = k.start(t)
	k.park(t)
	k.pinCommit(t, "UPDATE", "new.state = 'discarded'")
	id := ask[int64](t, k.conn, "SELECT id FROM walpost.dead_letters WHERE type = 'a2'")
	discard := k.background(t, "dead-letter", "discard", fmt.Sprint(id), "--note", "test")
	k.pinned(t)
	k.r.kill()
	k.letGo(t)
	if err := discard.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, discard.Stderr)
	}
	k.again(t)
	k.insert(t, "a4", "b2")
	k.states(t, "a2=discarded a3=waiting a4=waiting")
	k.arrived(t, "a1")
	k.mustCLI(t, "dead-letter", "retry", "--key", "a")
	k.states(t, "a2=discarded a3=released a4=released")
	k.finish(t, "a1 a3:retry a4:retry", "b1 b2")
}

// killDiscardedUnconfirmed kills the relay when keys were discarded and flow, and an event before all that is not acked. What was discarded
// is delivered again, and is neither sent nor parked. That holds for a row, too, that can never be a record.
func killDiscardedUnconfirmed(t *testing.T, k *parkedPipe) {
	k.r = k.start(t)
	k.insert(t, "x1")
	k.insert(t, "a1", "a2!", "a3", "b1", "c1?", "c2")
	k.states(t, "a2=head a3=waiting c1=head c2=waiting")
	k.raise(t)
	k.mustCLI(t, "dead-letter", "discard", "--all", "--note", "test")
	k.flow(t)
	k.insert(t, "a4", "b2", "c3")
	k.arrived(t, "a1 a4")
	k.arrived(t, "b1 b2")
	k.arrived(t, "c3")
	k.r.kill()
	k.again(t)
	k.arrived(t, "a1 a4 a1 a4")
	k.arrived(t, "c3 c3")
	k.topicAfterAll(t)
	k.states(t, "a2=discarded a3=discarded c1=discarded c2=discarded")
	k.finish(t, "a1 a4 a1 a4", "b1 b2 b1 b2")
}

// freezeBeforeParking stops a relay before Kafka refuses an event. A successor publishes the event, and then the first relay wakes, without
// knowing of the successor. Kafka refuses the event now, but it must not be parked.
func freezeBeforeParking(t *testing.T, k *parkedPipe) {
	_, stream, url := k.apart(t)
	frozen := k.start(t, "WALPOST_POSTGRES_URL="+url, "WALPOST_POSTGRES_SILENCE=10m")
	k.insert(t, "x1", "x2!", "x3", "b1")
	k.arrived(t, "b1")
	frozen.awaitOutput(t, "waiting for topic")
	frozen.signal(t, syscall.SIGSTOP)
	stream.Stall(true, true)
	// Its walsender has the slot, and a transaction that it was in, the lock.
	k.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'walpost%'")
	x := k.pipe.topic(t, "absent", 1, nil)
	k.r = k.start(t)
	k.settle(t)
	k.alter(t, x, "max.message.bytes", "2000")
	frozen.signal(t, syscall.SIGCONT)
	// Only a relay that has no right to park any more goes on to that.
	eventually(t, "it notices the successor", func() string {
		if letters := k.letters(t); letters != "" {
			t.Fatalf("it has parked what its successor had published: %s", letters)
		}
		if !strings.Contains(frozen.output(), "another relay has taken") {
			return "not yet"
		}
		return ""
	})
	frozen.kill()
	k.insert(t, "x4")
	k.settle(t)
	var got []string
	for _, rec := range flat(k.read(t, x)) {
		for _, h := range rec.Headers {
			if h.Key == "ce_type" {
				got = append(got, string(h.Value))
			}
		}
	}
	if all := strings.Join(got, " "); !regexp.MustCompile("^x1 x2 x3( x1)? x4$").MatchString(all) {
		t.Errorf("topic %s has %s", x, all)
	}
	k.finish(t, "", "b1 b1")
}

// apart returns proxies for the ordinary connections and for the replication connections of a relay, and the relay's URL.
func (k *parkedPipe) apart(t *testing.T) (sql, stream *proxy.Proxy, dsn string) {
	t.Helper()
	host := hostOf(t, k.db.DSN)
	sql, stream = proxy.Start(t, host), proxy.Start(t, host)
	way := proxy.StartRouter(t, func(first []byte) string {
		switch {
		case len(first) == 16 && bytes.Equal(first[4:8], []byte{0x04, 0xd2, 0x16, 0x2e}):
			return "127.0.0.1:1" // a request to cancel, which a client sends when its connection is lost: the network is down for that, too
		case bytes.Contains(first, []byte("replication\x00")):
			return stream.Address()
		}
		return sql.Address()
	})
	u, err := url.Parse(k.db.DSN)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = way.Address()
	q := u.Query()
	q.Set("sslmode", "disable") // the first message says what the connection is for
	u.RawQuery = q.Encode()
	return sql, stream, u.String()
}

// freezeParking stops a relay in the transaction that parks, which has the lock that a successor needs.
func freezeParking(t *testing.T, k *parkedPipe) {
	k.pin(t, "INSERT", "true")
	frozen := k.start(t)
	k.insert(t, "a1", "a2!", "a3", "b1")
	k.pinned(t)
	k.arrived(t, "a1")
	k.arrived(t, "b1")
	frozen.signal(t, syscall.SIGSTOP)
	k.letGo(t)
	// The server does it after wal_sender_timeout.
	k.exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '"+k.db.Name+"'")
	k.again(t)
	k.states(t, "a2=head a3=waiting")
	frozen.signal(t, syscall.SIGCONT)
	frozen.kill()
	k.parkedAgain(t, "a1 a1", "b1 b1")
}

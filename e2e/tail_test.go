package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"walpost/internal/testenv/child"
)

// tailing is a running `walpost tail`.
type tailing struct {
	cmd   *exec.Cmd
	out   *os.File // its output, to be read
	lines *bufio.Reader
	log   *child.Output
}

// tail starts `walpost tail` without any setting of Kafka, and waits until it
// prints committed rows.
func (p *pipe) tail(t testing.TB, args ...string) *tailing {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := &tailing{cmd: exec.Command(p.program(t), append([]string{"tail"}, args...)...), out: out, lines: bufio.NewReader(out), log: &child.Output{}}
	for _, variable := range p.environment(nil) {
		if !strings.HasPrefix(variable, "WALPOST_KAFKA_") {
			w.cmd.Env = append(w.cmd.Env, variable)
		}
	}
	w.cmd.Dir, w.cmd.Stdout, w.cmd.Stderr = p.home.Dir(), in, w.log
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	t.Cleanup(func() {
		w.cmd.Process.Kill()
		w.cmd.Wait()
		out.Close()
		noTrace(t, w.log.String())
	})
	eventually(t, "tail prints what is committed", func() string {
		if strings.Contains(w.log.String(), "printing what is committed from now on") {
			return ""
		}
		return "it says: " + w.log.String()
	})
	return w
}

// exit waits until it has ended and returns its exit code; -1: a signal ended it.
func (w *tailing) exit(t testing.TB) int {
	t.Helper()
	late := time.AfterFunc(patience, func() { w.cmd.Process.Kill() })
	defer late.Stop()
	err := w.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return w.cmd.ProcessState.ExitCode()
}

// event is a line of its output.
func (w *tailing) event(t testing.TB) (ev tailed) {
	t.Helper()
	if err := w.out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	line, err := w.lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ev)
	}
	if err != nil {
		t.Fatalf("%v\n%s%s", err, line, w.log)
	}
	return ev
}

// tailed is the part of a line that programs read.
type tailed struct {
	Topic, ID, Type, Time, Sequence, Timestamp string
	Partition                                  *int32
	Key                                        *string
	Headers                                    map[string]*string
	Payload                                    json.RawMessage
}

// temporary returns how many temporary slots the test's database has.
func (p *pipe) temporary(t testing.TB) int {
	t.Helper()
	return ask[int](t, p.conn, "SELECT count(*)::int FROM pg_replication_slots WHERE temporary AND database = current_database()")
}

// tail prints committed rows without Kafka and without a relay. Another slot
// stays where it is. tail writes nothing, and leaves nothing behind.
func TestTail(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	p.unchecked(t)
	p.exec(t, "SELECT walpost.publish('order', '0', 'Before', '{}')")
	p.mustCLI(t, "slot", "create")
	const stands = "SELECT confirmed_flush_lsn::text||restart_lsn::text FROM pg_replication_slots WHERE NOT temporary AND database = current_database()"
	before := ask[string](t, p.conn, stands)
	w := p.tail(t)
	p.exec(t,
		"BEGIN", "SELECT walpost.publish('order', '1', 'Undone', '{}')", "ROLLBACK",
		"INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('a b', 'no topic can have this name')",
		`SELECT walpost.publish('order', '1', 'Placed', '{"n": 12345678901234567890, "s": "<"}', '{"traceparent": "00-x"}')`,
		"INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'Gone')")
	ev := w.event(t)
	if ev.Topic != p.prefix+".order" || ev.Type != "Placed" || ev.Key == nil || *ev.Key != "1" || ev.Partition != nil ||
		string(ev.Payload) != `{"n":12345678901234567890,"s":"<"}` || ev.Headers["traceparent"] == nil || *ev.Headers["traceparent"] != "00-x" ||
		ev.Headers["ce_sequence"] == nil || *ev.Headers["ce_sequence"] != ev.Sequence || *ev.Headers["ce_time"] != ev.Time || *ev.Headers["ce_id"] != ev.ID ||
		!strings.HasPrefix(ev.Sequence, "00000001-") || !strings.HasSuffix(ev.Timestamp, "Z") {
		t.Errorf("%+v", ev)
	}
	if ev := w.event(t); ev.Type != "Gone" || ev.Key != nil || string(ev.Payload) != "null" {
		t.Errorf("%+v", ev)
	}
	eventually(t, "the bad event is logged", func() string { // another goroutine reads stderr
		log := w.log.String()
		if !strings.Contains(log, "this event cannot be published") || !strings.Contains(log, "a topic name has") {
			return log
		}
		return ""
	})
	if n := p.temporary(t); n != 1 {
		t.Errorf("%d temporary slots", n)
	}
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := w.exit(t); code != 0 {
		t.Errorf("after SIGTERM: exit %d\n%s", code, w.log)
	}
	if rest, err := io.ReadAll(w.lines); err != nil || len(rest) > 0 {
		t.Errorf("%v, more output: %s", err, rest)
	}
	if n := p.temporary(t); n != 0 {
		t.Errorf("%d temporary slots are left", n)
	}
	if after := ask[string](t, p.conn, stands); after != before {
		t.Errorf("the slot was at %s and is at %s", before, after)
	}
	if n := ask[int](t, p.conn, "SELECT count(*)::int FROM walpost.relay_state"); n != 0 {
		t.Error("something was recorded")
	}
}

// However tail ends, the exit code and the last line give the reason.
func TestTailEnds(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.exec(t, "CREATE TABLE public.events (id bigserial PRIMARY KEY, aggregatetype text, aggregateid text, type text, payload bytea)")
	r := p.cli(t, nil, "tail", "--table", "public.events")
	if r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, "create publication walpost for table public.events") {
		t.Errorf("without a publication: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	p.exec(t, "CREATE PUBLICATION walpost FOR TABLE public.events")

	// head has its line and ends. tail notices that without another event.
	w := p.tail(t, "--table", "public.events")
	p.exec(t, "INSERT INTO public.events (aggregatetype, type, payload) VALUES ('order', 'Placed', 'abc')")
	if ev := w.event(t); ev.ID != "1" || string(ev.Payload) != `{"base64":"YWJj"}` {
		t.Errorf("%+v", ev)
	}
	w.out.Close()
	if code := w.exit(t); code != 0 || strings.Contains(w.log.String(), "pipe") {
		t.Errorf("a closed pipe: exit %d\n%s", code, w.log)
	}
	if n := p.temporary(t); n != 0 {
		t.Errorf("a closed pipe: %d temporary slots are left", n)
	}

	w = p.tail(t, "--table", "public.events")
	p.exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE temporary AND database = current_database()")
	if code := w.exit(t); code != 1 || !strings.Contains(w.log.String(), "walpost: ") || !strings.Contains(w.log.String(), "57P01") {
		t.Errorf("a cut connection: exit %d\n%s", code, w.log)
	}
}

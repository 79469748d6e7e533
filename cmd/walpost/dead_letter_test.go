package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"walpost/internal/pgtest"
	"walpost/relay/deadletter"
	"walpost/schema"
)

// letters fills walpost.dead_letters: key a has a head and two that wait, an event without a key, and one that was released.
func letters(t *testing.T) *pgtest.DB {
	t.Helper()
	clean(t)
	db := pgtest.New(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	if code, _, stderr := command(t, "schema", "apply"); code != 0 {
		t.Fatal(stderr)
	}
	for i, row := range []string{"'t', 'a', 'head'", "'t', 'a', 'waiting'", "'t', 'a', 'waiting'", "'t', null, 'head'", "'u', 'b', 'released'"} {
		db.Exec(t, fmt.Sprintf(`insert into walpost.dead_letters (slot, position, event_id, reason, value, header_names, header_values, topic, key, state)
			values ('walpost', '00000001-0000000000000010-%08X', 'e%[1]d', 'message_too_large', 'v%[1]d', '{n}', '{NULL}', %s)`, i, row))
	}
	db.Exec(t, "insert into walpost.dead_letters (slot, position, event_id, reason, topic) values ('other', '9', 'e9', 'x', 't')")
	return db
}

func TestDeadLetterList(t *testing.T) {
	letters(t)
	for _, c := range []struct {
		args string
		want []string // ids
	}{
		{"", []string{"1", "2", "3", "4"}},
		{"--state released", []string{"5"}},
		{"--key a --state head,waiting", []string{"1", "2", "3"}},
		{"--event e2", []string{"3"}},
		{"--topic u", nil},
		{"--reason message_too_large --topic t", []string{"1", "2", "3", "4"}},
	} {
		args := append([]string{"dead-letter", "list"}, strings.Fields(c.args)...)
		code, stdout, stderr := command(t, args...)
		var got []string
		for i, line := range strings.Split(strings.TrimSpace(stdout), "\n") {
			if i > 0 {
				got = append(got, strings.Fields(line)[0])
			}
		}
		if code != 0 || fmt.Sprint(got) != fmt.Sprint(c.want) || (c.want == nil) != strings.Contains(stderr, "no events match") {
			t.Errorf("%s: exit %d, %v, want %v\n%s%s", c.args, code, got, c.want, stdout, stderr)
		}
		code, stdout, stderr = command(t, append(args, "--json")...)
		var list []deadletter.Letter
		if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 0 || list == nil || len(list) != len(c.want) || stderr != "" {
			t.Errorf("%s --json: exit %d, %v, %d\n%s%s", c.args, code, err, len(list), stdout, stderr)
		}
	}
	if code, stdout, _ := command(t, "dead-letter", "list", "--group"); code != 0 || !strings.Contains(stdout, "\n2       1     t      message_too_large  waiting ") {
		t.Errorf("--group: exit %d\n%s", code, stdout)
	}
	code, stdout, stderr := command(t, "dead-letter", "show", "2")
	if code != 0 || !strings.Contains(stdout, "state     waiting, since ") || !strings.Contains(stdout, "header n  -\n") || !strings.HasSuffix(stdout, "\nv1\n") {
		t.Errorf("show: exit %d\n%s%s", code, stdout, stderr)
	}
}

// A slot without dead letters may be a mistyped one, so the message names it.
func TestDeadLetterNamesTheSlot(t *testing.T) {
	letters(t)
	for _, args := range []string{"list", "list --group", "retry --all", "discard --all --note n"} {
		code, stdout, stderr := command(t, append([]string{"dead-letter", "--slot", "nosuchslot"}, strings.Fields(args)...)...)
		if code != 0 || stdout != "" || stderr != "no events match in slot nosuchslot\n" {
			t.Errorf("%s: exit %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

// A long list is printed in parts, each with columns of its own widths.
func TestDeadLetterLongList(t *testing.T) {
	db := letters(t)
	db.Exec(t, `insert into walpost.dead_letters (slot, position, reason, topic) select 'walpost', '00000002-0000000000000010-' || lpad(i::text, 8, '0'), 'x', case i when 1500 then repeat('t', 200) else 't' end
		from generate_series(1, 2500) i`)
	code, stdout, stderr := command(t, "dead-letter", "list")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if code != 0 || len(lines) != 2505 || stderr != "" {
		t.Fatalf("exit %d, %d lines\n%s", code, len(lines), stderr)
	}
	for n, wide := range map[int]bool{0: false, 1: false, 1000: false, 1001: true, 1504: true, 2000: true, 2001: false, 2504: false} {
		if got := len(lines[n]) > 200; got != wide {
			t.Errorf("line %d: wide %v, want %v\n%s", n, got, wide, lines[n])
		}
	}
}

// While an operator has locked the table, each command ends soon, with exit code 1, and says how to find who has locked it.
func TestDeadLetterTableIsLocked(t *testing.T) {
	db := letters(t)
	operator := db.Connect(t)
	if _, err := operator.Exec(t.Context(), "begin; lock table walpost.dead_letters"); err != nil {
		t.Fatal(err)
	}
	running := map[string]*process{}
	for _, args := range []string{"list", "list --json", "list --group", "show 1", "retry 1", "retry --all --dry-run", "discard 4 --note n"} {
		running[args] = start(t.Context(), nil, append([]string{"dead-letter"}, strings.Fields(args)...)...)
	}
	var says string
	for args, p := range running {
		if code := p.exit(t); code != 1 || p.stdout.String() != "" {
			t.Errorf("%s: exit %d\n%s", args, code, &p.stdout)
		}
		says = p.stderr.String()
		for _, want := range []string{"55P03", "a lock of walpost.dead_letters", "run: SELECT ", "pg_terminate_backend"} {
			if !strings.Contains(says, want) || strings.Count(says, "\n") != 1 {
				t.Errorf("%s: it does not say %q\n%s", args, want, says)
			}
		}
	}
	query, _, _ := strings.Cut(says[strings.Index(says, "run: ")+len("run: "):], "; ")
	var pid uint32
	var statement string
	if err := db.Connect(t).QueryRow(t.Context(), query).Scan(&pid, nil, nil, nil, nil, &statement); err != nil || pid != operator.PgConn().PID() || !strings.Contains(statement, "lock table") {
		t.Errorf("%s: session %d, %q, %v; want session %d", query, pid, statement, err, operator.PgConn().PID())
	}
}

// --key takes each key in the form in which list, show and the completion print it, and as text. A key that looks like bytes is given as bytes.
func TestDeadLetterKeys(t *testing.T) {
	db := letters(t)
	db.Exec(t, "delete from walpost.dead_letters")
	keys := []struct{ key, shown string }{
		{"order-1", "order-1"},
		{"", `""`},
		{"-", `"-"`},
		{"a b", "a b"},
		{"\"", `"\""`},
		{"заказ", "заказ"},
		{"\xff\x00k", `\xff006b`},
		{"\xff", `\xff`},
		{`\xff`, `\x5c786666`}, // four characters
		{`\x5c786666`, `\x5c783563373836363636`},
		{"a\n", `\x610a`},
		{`\x`, `\x5c78`},
		{`\xf`, `\xf`},
		{`\xfg`, `\xfg`},
		{`a\xff`, `a\xff`},
	}
	for i, k := range keys {
		db.Exec(t, fmt.Sprintf(`insert into walpost.dead_letters (slot, position, reason, topic, key) values ('walpost', '00000001-0000000000000010-%08X', 'x', 't', '\x%x')`, i, k.key))
	}
	for i, k := range keys {
		given := k.shown
		if text, err := strconv.Unquote(given); err == nil { // a shell takes the quotes away
			given = text
		}
		id := fmt.Sprint(i + 7) // behind those of letters
		code, stdout, stderr := command(t, "dead-letter", "list", "--key", given)
		lines := strings.Split(stdout, "\n")
		if code != 0 || len(lines) != 3 || !regexp.MustCompile(`^`+id+` +head +t +`+regexp.QuoteMeta(k.shown)+` +- `).MatchString(lines[1]) {
			t.Errorf("key %q as %s: exit %d, want id %s\n%s%s", k.key, given, code, id, stdout, stderr)
		}
		if code, stdout, _ := command(t, "dead-letter", "show", id); code != 0 || !strings.Contains(runs.ReplaceAllString(stdout, " "), "\nkey "+k.shown+"\n") {
			t.Errorf("show %s: exit %d\n%s", id, code, stdout)
		}
		if code, stdout, _ := command(t, "__complete", "dead-letter", "show", id); code != 0 || !strings.HasPrefix(stdout, id+"\tt "+k.shown+" x\n") {
			t.Errorf("completion of %s: exit %d\n%s", id, code, stdout)
		}
		if code, stdout, _ := command(t, "dead-letter", "discard", "--key", given, "--note", "n"); code != 0 || !strings.Contains(stdout, "discarded: 1 event of 1 key") {
			t.Errorf("discard --key %s: exit %d\n%s", given, code, stdout)
		}
	}
	// As psql prints the column, also of a key that is text.
	if code, stdout, _ := command(t, "dead-letter", "list", "--state", "discarded", "--key", `\x6F726465722D31`); code != 0 || !strings.Contains(stdout, " order-1 ") {
		t.Errorf("hexadecimal: exit %d\n%s", code, stdout)
	}
}

// Each filter chooses the same parked events with each command that takes it. Only list shows others.
func TestDeadLetterFilters(t *testing.T) {
	letters(t)
	for _, c := range []struct {
		filter                   string
		listed, retried, givenUp int
	}{
		{"--topic t", 4, 4, 4},
		{"--key a", 3, 3, 3},
		{"--event e1", 1, 3, 1}, // its key with it
		{"--reason message_too_large", 4, 4, 4},
		{"--state head", 2, 4, 2},
		{"--state waiting", 2, 3, 2},
		{"--state retrying", 0, 0, 0},
		{"--state released", 1, 0, 0},
		{"--state discarded", 0, 0, 0},
		{"--all", 4, 4, 4},
		{"--key a --state head --topic t --reason message_too_large --event e0", 1, 3, 1},
	} {
		filter := strings.Fields(c.filter)
		_, stdout, _ := command(t, append([]string{"dead-letter", "list", "--json"}, filter...)...)
		if n := strings.Count(stdout, `"id":`); n != c.listed {
			t.Errorf("list %s: %d events, want %d", c.filter, n, c.listed)
		}
		for verb, want := range map[string]int{"retry": c.retried, "discard --note n": c.givenUp} {
			code, stdout, stderr := command(t, slices.Concat([]string{"dead-letter"}, strings.Fields(verb), filter, []string{"--dry-run", "--json"})...)
			if code != 0 || !strings.Contains(stdout, fmt.Sprintf(`"events":%d,`, want)) {
				t.Errorf("%s %s: exit %d, want %d events\n%s%s", verb, c.filter, code, want, stdout, stderr)
			}
		}
	}
}

// A command that changes something does what was chosen, says how much, and keeps who did it. With --dry-run it changes nothing.
func TestDeadLetter(t *testing.T) {
	db := letters(t)
	states := func() string {
		var text string
		if err := db.Connect(t).QueryRow(t.Context(), "select string_agg(id || '=' || state, ' ' order by id) from walpost.dead_letters").Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	const before = "1=head 2=waiting 3=waiting 4=head 5=released 6=head"
	for _, c := range []struct {
		args   []string
		code   int
		says   string
		states string
	}{
		{[]string{"retry"}, 2, "--all means every parked event", before},
		{[]string{"retry", "--all", "1"}, 2, "--all means every parked event: leave it out, or leave out the ids and --event", before},
		{[]string{"retry", "--all", "--event", "e1"}, 2, "--all means every parked event: leave it out", before},
		{[]string{"discard", "4", "--all", "--note", "n"}, 2, "--all means every parked event: leave it out", before},
		{[]string{"discard", "--event", "e4", "--all", "--note", "n", "--dry-run"}, 2, "--all means every parked event: leave it out", before},
		{[]string{"retry", "x"}, 2, "an id is a number", before},
		{[]string{"retry", "99"}, 1, "has no dead letter with id 99", before},
		{[]string{"retry", "6"}, 1, "has no dead letter with id 6", before}, // of another slot
		{[]string{"retry", "--topic", "nobody"}, 0, "no events match", before},
		{[]string{"retry", "--state", "lost"}, 2, `there is no state "lost"`, before},
		{[]string{"retry", "5"}, 0, "released or discarded already: 1 event; walpost dead-letter show", before},
		{[]string{"discard", "5", "--note", "n"}, 0, "released or discarded already: 1 event;", before},
		{[]string{"retry", "--state", "released"}, 0, "no events match", before},
		{[]string{"retry", "1", "99", "98", "99"}, 1, "has no dead letter with ids 98 99: walpost dead-letter list", before},
		{[]string{"discard", "99999999999999999999", "--note", "n"}, 1, "has no dead letter with id ", before},
		{[]string{"show", "99999999999999999999"}, 1, "has no dead letter with id 99999999999999999999", before},
		{[]string{"discard", "1", "--note", "\xff"}, 2, "--note is no text in UTF-8", before},
		{[]string{"retry", "--topic", "\xff"}, 2, "--topic is no text in UTF-8", before},
		{[]string{"list", "--dry-run", "--topic", "none"}, 0, "", before},
		{[]string{"retry", "1", "--topic", "u"}, 0, "no events match", before},
		{[]string{"discard", "1"}, 2, "--note is missing", before},
		{[]string{"discard", "1", "--note", " "}, 2, "--note is missing", before},
		{[]string{"discard", "1", "--note", "n", "--dry-run"}, 0, "would be discarded: 1 event of 1 key", before},
		{[]string{"discard", "--all", "--note", "n", "--dry-run"}, 0, "would be discarded: 4 events of 1 key, in ", before}, // as list --group counts them
		{[]string{"discard", "4", "--note", "n", "--dry-run"}, 0, "would be discarded: 1 event without a key, in ", before},
		{[]string{"retry", "--all", "--dry-run", "--json"}, 0, `"events":4,"keys":1,`, before},
		{[]string{"retry", "--topic", "", "--reason", "message_too_large"}, 2, "--topic is empty", before},
		{[]string{"discard", "--event", "", "--key", "a", "--note", "n"}, 2, "--event is empty", before},
		{[]string{"retry", "--all", "--reason", ""}, 2, "--reason is empty", before},
		{[]string{"retry", "--state", ""}, 2, "--state is empty", before},
		{[]string{"list", "--state", ""}, 2, "--state is empty", before},
		{[]string{"retry", "--help"}, 0, "events in these states: head, waiting, retrying\n", before}, // it changes no others
		{[]string{"list", "--help"}, 0, "head, waiting, retrying, released, discarded (", before},
		{[]string{"retry", "2", "--dry-run"}, 0, "would be given back: 3 events of 1 key", before},
		{[]string{"show", "99"}, 1, "has no dead letter with id 99", before},
		{[]string{"show"}, 2, "takes exactly one argument", before},
		{[]string{"discard", "1", "--note", "a test"}, 0, "discarded: 1 event of 1 key", "1=discarded 2=waiting 3=waiting 4=head 5=released 6=head"},
		{[]string{"retry", "3"}, 0, "given back: 2 events of 1 key", "1=discarded 2=retrying 3=retrying 4=head 5=released 6=head"},
		{[]string{"retry", "--key", "a"}, 0, "given back already: 2 events; the relay publishes them when it runs", "1=discarded 2=retrying 3=retrying 4=head 5=released 6=head"},
		{[]string{"discard", "2", "--note", "late"}, 0, "given back already: 1 event; the relay publishes them when it runs; if Kafka refuses one again, discard it then", "1=discarded 2=retrying 3=retrying 4=head 5=released 6=head"},
		{[]string{"discard", "1", "2", "--note", "mixed"}, 0, "given back already: 1 event; the relay publishes them when it runs; if Kafka refuses one again, discard it then\n" +
			"released or discarded already: 1 event;", "1=discarded 2=retrying 3=retrying 4=head 5=released 6=head"},
		{[]string{"retry", "--all", "--dry-run"}, 0, "given back already: 2 events;", "1=discarded 2=retrying 3=retrying 4=head 5=released 6=head"},
		{[]string{"retry", "--all"}, 0, "given back: 1 event without a key, in ", "1=discarded 2=retrying 3=retrying 4=retrying 5=released 6=head"},
	} {
		code, stdout, stderr := command(t, append([]string{"dead-letter"}, c.args...)...)
		if got := states(); code != c.code || !strings.Contains(stdout+stderr, c.says) || got != c.states {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s%s", c.args, code, c.code, c.says, stdout, stderr, got)
		}
	}
	var note, actor string
	if err := db.Connect(t).QueryRow(t.Context(), "select note, actor from walpost.dead_letters where id = 1").Scan(&note, &actor); err != nil || note != "a test" || !strings.HasPrefix(actor, "postgres/") {
		t.Errorf("note %q, actor %q, %v", note, actor, err)
	}
}

// A message names the first ids only, however many there are.
func TestDeadLetterNamesFewIDs(t *testing.T) {
	db := letters(t)
	db.Exec(t, `insert into walpost.dead_letters (slot, position, reason, topic) select 'walpost', 'x' || i, 'x', 'many' from generate_series(1, 30) i`)
	const first = "7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 and 10 others"
	code, stdout, stderr := command(t, "dead-letter", "retry", "--topic", "many", "--json")
	if code != 1 || !strings.Contains(stderr, "dead letters "+first+" have a position that cannot be read") || !strings.Contains(stdout, ",36]") {
		t.Errorf("exit %d, want %q\n%s%s", code, first, stdout, stderr)
	}
	args := []string{"dead-letter", "retry"}
	for id := 101; id <= 121; id++ {
		args = append(args, strconv.Itoa(id))
	}
	if code, _, stderr = command(t, args...); code != 1 || !strings.Contains(stderr, " 119 120 and 1 other: walpost dead-letter list prints the ids") {
		t.Errorf("exit %d\n%s", code, stderr)
	}
	if code, _, stderr = command(t, args[:22]...); code != 1 || !strings.Contains(stderr, " 119 120: walpost dead-letter list") {
		t.Errorf("exit %d\n%s", code, stderr)
	}
}

// What comes from elsewhere cannot write to the terminal, and no field looks like another one.
func TestDeadLetterPrintsNoControlCharacters(t *testing.T) {
	db := letters(t)
	db.Exec(t, `update walpost.dead_letters set key = '\x1b5d303b6f776e65640761ff', topic = E'a\tb\nc', type = '-', event_id = U&'\202Ex', reason = E'\u009b2J', detail = E'one\ttab\n\x1b[31mtwo',
		note = E'n\r', actor = E'a\b', state = 'head', header_names = '{"\\x0d6e"}', header_values = '{"\\x1b"}', value = '\x7b0a097d1b63ff' where id = 1`)
	db.Exec(t, "update walpost.dead_letters set key = '' where id = 2", `update walpost.dead_letters set key = '\x22' where id = 3`)
	for _, c := range []struct {
		args []string
		want []string // runs of spaces count as one
	}{
		{[]string{"list"}, []string{` \x1b5d303b6f776e65640761ff "-" "\u202ex" "\u009b2J" 0 `, ` "" `, ` "\"" `, ` "a\tb\nc" `}},
		{[]string{"list", "--group"}, []string{` "a\tb\nc" "\u009b2J" head `}},
		{[]string{"show", "1"}, []string{"\nkey \\x1b5d303b6f776e65640761ff\n", "\ndetail one tab\n \\x1b[31mtwo\n", "\nnote n\\r\n", "\nactor \"a\\b\"\n", `header "\rn" "\x1b"`, "\n\n{\n\t}\\x1bc\\xff\n"}},
	} {
		code, stdout, stderr := command(t, append([]string{"dead-letter"}, c.args...)...)
		if code != 0 || strings.ContainsAny(stdout, "\x1b\a\b\r\x00\u009b\u202e") || !utf8.ValidString(stdout) {
			t.Errorf("%v: exit %d\n%q\n%s", c.args, code, stdout, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(runs.ReplaceAllString(stdout, " "), want) {
				t.Errorf("%v: no %q in\n%s", c.args, want, stdout)
			}
		}
	}
}

var runs = regexp.MustCompile(" +")

// The JSON has what the contract names, in an array, and a key that is no text as bytes, too.
func TestDeadLetterJSON(t *testing.T) {
	db := letters(t)
	db.Exec(t, `update walpost.dead_letters set key = '\xff00' where id = 1`, "update walpost.dead_letters set parked_at = 'infinity', record_timestamp = '-infinity' where id = 2",
		"update walpost.dead_letters set updated_at = '20000-01-01' where id = 3")
	code, stdout, stderr := command(t, "dead-letter", "list", "--json")
	var list []map[string]any
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 0 || len(list) != 4 {
		t.Fatalf("exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	for _, l := range list {
		for _, field := range []string{"id", "event_id", "topic", "key", "type", "reason", "sequence", "parked_at", "state", "attempts"} {
			if _, there := l[field]; !there {
				t.Errorf("no %s in %v", field, l)
			}
		}
	}
	if list[0]["key_bytes"] != "/wA=" || list[1]["key_bytes"] != nil || list[1]["key"] != "a" || list[3]["key"] != nil || list[1]["sequence"] != "00000001-0000000000000010-00000001" {
		t.Errorf("%v", list)
	}
	code, stdout, stderr = command(t, "dead-letter", "list", "--key", "\xff", "--json")
	if code != 0 || stdout != "[]\n" || stderr != "" {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	db.Exec(t, `update walpost.dead_letters set key = '\xff' where id = 1`) // a shell passes any byte but zero
	if code, stdout, stderr = command(t, "dead-letter", "list", "--key", "\xff"); code != 0 || !strings.Contains(stdout, ` \xff `) {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr = command(t, "dead-letter", "show", "2", "--json"); code != 0 || !strings.Contains(stdout, `"record_timestamp":"`) {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr = command(t, "dead-letter", "show", "1", "--json"); code != 0 || !strings.Contains(stdout, `"record_timestamp":null`) {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

// The relay's role may do everything that these commands do. A role without the rights, and a database without the schema, get the cure.
func TestDeadLetterRights(t *testing.T) {
	db := letters(t)
	role := schema.QuoteIdent(db.Name + "_relay")
	db.Exec(t, "create role "+role+" login password 'secret' replication")
	conn := db.Connect(t)
	t.Cleanup(func() { // the test's own context is done by then
		if _, err := conn.Exec(context.Background(), "drop owned by "+role+"; drop role "+role); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(db.DSN)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(db.Name+"_relay", "secret")
	as := u.String()
	reading := [][]string{{"list"}, {"list", "--group"}, {"show", "1"}}
	changing := [][]string{{"retry", "1"}, {"discard", "4", "--note", "n"}}
	everything := slices.Concat(reading, changing)
	expect := func(url string, commands [][]string, code int, says string) {
		t.Helper()
		t.Setenv("WALPOST_POSTGRES_URL", url)
		for _, args := range commands {
			if got, stdout, stderr := command(t, append([]string{"dead-letter"}, args...)...); got != code || !strings.Contains(stdout+stderr, says) {
				t.Errorf("%v: exit %d, want %d and %q\n%s%s", args, got, code, says, stdout, stderr)
			}
		}
		t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	}
	expect(as, everything, 1, "walpost schema print --relay-role "+role+" prints all grants of the role")
	db.Exec(t, "grant usage on schema walpost to "+role)
	expect(as, everything, 1, "run: GRANT SELECT, INSERT, UPDATE, DELETE ON walpost.dead_letters, walpost.relay_state TO "+role)
	db.Exec(t, "grant select on walpost.dead_letters to "+role)
	expect(as, reading, 0, "")
	expect(as, changing, 1, "run: GRANT SELECT, INSERT, UPDATE, DELETE ON walpost.dead_letters, walpost.relay_state TO "+role)
	if code, _, stderr := command(t, "schema", "apply", "--relay-role", db.Name+"_relay"); code != 0 {
		t.Fatal(stderr)
	}
	expect(as, everything, 0, "")
	var actor string
	if err := db.Connect(t).QueryRow(t.Context(), "select min(actor) from walpost.dead_letters where id in (1, 4)").Scan(&actor); err != nil || !strings.HasPrefix(actor, db.Name+"_relay/") {
		t.Errorf("actor %q, %v", actor, err)
	}
	db.Exec(t, "alter table walpost.dead_letters drop column actor", "create or replace function walpost.schema_version() returns integer language sql stable as 'select 1'")
	expect(db.DSN, everything, 1, "schema walpost has version 1, and this walpost needs version 2; run: walpost schema apply")
	if code, _, stderr := command(t, "schema", "apply"); code != 0 {
		t.Fatal(stderr)
	}
	expect(db.DSN, everything, 0, "")
	db.Exec(t, "drop schema walpost cascade")
	expect(db.DSN, everything, 1, "walpost schema apply")
}

// A shell completes states, and topics, reasons and ids of the slot's own dead letters. If the database does not answer, it completes
// nothing, soon and without a word.
func TestDeadLetterCompletion(t *testing.T) {
	db := letters(t)
	db.Exec(t, `update walpost.dead_letters set topic = E'a\tb', key = E'\\x1b0a', reason = 'unexpected' where id = 2`)
	complete := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := command(t, append([]string{"__complete", "dead-letter"}, args...)...)
		if code != 0 || strings.TrimSpace(stderr) != "Completion ended with directive: ShellCompDirectiveNoFileComp" {
			t.Errorf("%q: exit %d\n%s", args, code, stderr)
		}
		return strings.TrimSuffix(stdout, ":4\n")
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"list", "--topic", ""}, "t\n"}, // no control characters
		{[]string{"list", "--topic", "x"}, ""},
		{[]string{"list", "--state", "released", "--topic", ""}, "u\n"},
		{[]string{"retry", "--reason", ""}, "message_too_large\nunexpected\n"},
		{[]string{"discard", "--reason", "u"}, "unexpected\n"},
		{[]string{"list", "--state", "re"}, "retrying\nreleased\n"},
		{[]string{"list", "--state", "head,"}, "head,waiting\nhead,retrying\nhead,released\nhead,discarded\n"},
		{[]string{"retry", "--state", "re"}, "retrying\n"},
		{[]string{"discard", "--state", "head,"}, "head,waiting\nhead,retrying\n"},
		{[]string{"show", ""}, "1\tt a message_too_large\n2\t\"a\\tb\" \\x1b0a unexpected\n3\tt a message_too_large\n4\tt - message_too_large\n"},
		{[]string{"show", "1", ""}, ""},
		{[]string{"retry", "4"}, "4\tt - message_too_large\n"},
		{[]string{"discard", "1", "2", ""}, "3\tt a message_too_large\n4\tt - message_too_large\n"},
		{[]string{"retry", "5"}, ""}, // it is released
	} {
		if got := complete(c.args...); got != c.want {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
	db.Exec(t, `insert into walpost.dead_letters (slot, position, reason, topic) select 'walpost', 'x' || i, 'x', 'many' from generate_series(1, 300) i`)
	if n := strings.Count(complete("retry", ""), "\n"); n != 100 {
		t.Errorf("%d ids, want 100", n)
	}
	locked := db.Connect(t)
	if _, err := locked.Exec(t.Context(), "begin; lock table walpost.dead_letters"); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, url := range []string{db.DSN, "postgres://127.0.0.1:1/none", "postgres://" + silent.Addr().String() + "/none", "::"} {
		t.Setenv("WALPOST_POSTGRES_URL", url)
		for _, args := range [][]string{{"retry", ""}, {"retry", "--topic", ""}} {
			began := time.Now()
			if got := complete(args...); got != "" {
				t.Errorf("%s %q: %q", url, args, got)
			}
			if took := time.Since(began); took > 20*completionTimeout {
				t.Errorf("%s %q: it took %v", url, args, took)
			}
		}
	}
	t.Setenv("WALPOST_POSTGRES_SLOT", "NO") // a configuration that cannot be used
	complete("retry", "")
}

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/relay/deadletter"
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
			values ('walpost', '%d', 'e%[1]d', 'message_too_large', 'v%[1]d', '{n}', '{NULL}', %s)`, i, row))
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
		{[]string{"retry", "x"}, 2, "an id is a number", before},
		{[]string{"retry", "99"}, 1, "has no dead letter with id 99", before},
		{[]string{"retry", "6"}, 1, "has no dead letter with id 6", before}, // of another slot
		{[]string{"retry", "--topic", "nobody"}, 0, "no events match", before},
		{[]string{"retry", "--state", "lost"}, 2, `there is no state "lost"`, before},
		{[]string{"retry", "5"}, 0, "no events match", before},
		{[]string{"discard", "1"}, 2, "--note is missing", before},
		{[]string{"discard", "1", "--note", " "}, 2, "--note is missing", before},
		{[]string{"discard", "1", "--note", "n", "--dry-run"}, 0, "would be discarded: 1 events of 1 keys", before},
		{[]string{"retry", "2", "--dry-run"}, 0, "would be given back: 3 events of 1 keys", before},
		{[]string{"show", "99"}, 1, "has no dead letter with id 99", before},
		{[]string{"show"}, 2, "takes exactly one argument", before},
		{[]string{"discard", "1", "--note", "a test"}, 0, "discarded: 1 events of 1 keys", "1=discarded 2=waiting 3=waiting 4=head 5=released 6=head"},
		{[]string{"retry", "3"}, 0, "given back: 2 events of 1 keys", "1=discarded 2=retrying 3=retrying 4=head 5=released 6=head"},
		{[]string{"retry", "--key", "a"}, 0, "2 events are given back already", "1=discarded 2=retrying 3=retrying 4=head 5=released 6=head"},
		{[]string{"discard", "2", "--note", "late"}, 0, "1 events are given back already", "1=discarded 2=retrying 3=retrying 4=head 5=released 6=head"},
		{[]string{"retry", "--all"}, 0, "given back: 1 events of 1 keys", "1=discarded 2=retrying 3=retrying 4=retrying 5=released 6=head"},
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

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// oracle is a second slot on the same WAL, read with SQL and never advanced. It
// has the order of the committed rows and their LSNs. The messages are parsed by
// pglogrepl, not by walpost's decoder.
type oracle struct {
	conn *pgx.Conn // in UTC, because times are text here
	slot string
	only string // schema.table: rows of other tables are ignored; empty: there are no other tables
}

// row is one committed outbox row.
type row struct {
	lsn       uint64 // start of its commit record
	index     int    // its number in its transaction
	committed time.Time
	values    map[string]*string // by column; nil is NULL
}

// newOracle creates the slot. Rows that are inserted from now on are in it. The
// publication must exist.
func newOracle(t testing.TB, p *pipe) *oracle {
	t.Helper()
	o := &oracle{conn: p.connect(t), slot: p.db.Name + "_oracle"}
	execOn(t, o.conn, "SELECT pg_create_logical_replication_slot('"+o.slot+"', 'pgoutput')")
	return o
}

// rows returns all rows since the slot was created, in commit order.
func (o *oracle) rows(t testing.TB) []row {
	t.Helper()
	messages, err := o.conn.Query(t.Context(),
		"SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', 'walpost')", o.slot)
	if err != nil {
		t.Fatal(err)
	}
	data, err := pgx.CollectRows(messages, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	var begin *pglogrepl.BeginMessage
	relations := make(map[uint32]*pglogrepl.RelationMessage)
	index := 0
	for _, d := range data {
		message, err := pglogrepl.Parse(d)
		if err != nil {
			t.Fatal(err)
		}
		switch m := message.(type) {
		case *pglogrepl.BeginMessage:
			begin, index = m, 0
		case *pglogrepl.RelationMessage:
			relations[m.RelationID] = m
		case *pglogrepl.InsertMessage:
			relation := relations[m.RelationID]
			if o.only != "" && o.only != relation.Namespace+"."+relation.RelationName {
				continue
			}
			rows = append(rows, row{lsn: uint64(begin.FinalLSN), index: index, committed: begin.CommitTime, values: values(relation, m.Tuple)})
			index++
		}
	}
	return rows
}

func values(relation *pglogrepl.RelationMessage, tuple *pglogrepl.TupleData) map[string]*string {
	m := make(map[string]*string, len(tuple.Columns))
	for i, c := range tuple.Columns {
		if c.DataType == pglogrepl.TupleDataTypeNull {
			m[relation.Columns[i].Name] = nil
			continue
		}
		value := string(c.Data)
		m[relation.Columns[i].Name] = &value
	}
	return m
}

// get returns a column's text, "" for NULL.
func (r row) get(column string) string {
	if v := r.values[column]; v != nil {
		return *v
	}
	return ""
}

// sequence returns the row's ce_sequence. The server is new, so it is on
// timeline 1.
func (r row) sequence() string { return fmt.Sprintf("00000001-%016X-%08X", r.lsn, r.index) }

// instant returns a timestamptz of a session in UTC in walpost's format.
func instant(t testing.TB, text string) string {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05.999999-07", text)
	if err != nil {
		t.Fatal(err)
	}
	return at.Format("2006-01-02T15:04:05.000000Z")
}

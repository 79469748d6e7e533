package decoder

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/schema"
)

// reference decodes with the parser of pglogrepl. That has none of the decoder's checks, so it gets only messages that the decoder has
// accepted: others could make it panic or allocate gigabytes.
type reference struct {
	table   schema.Table
	mapping schema.Mapping

	types     map[uint32]string
	relations map[uint32]*pglogrepl.RelationMessage
	plans     map[uint32]*schema.Plan
	begin     *pglogrepl.BeginMessage
	rows      uint32
}

func newReference(d *Decoder) *reference {
	return &reference{
		table: d.table, mapping: d.mapping,
		types: map[uint32]string{}, relations: map[uint32]*pglogrepl.RelationMessage{}, plans: map[uint32]*schema.Plan{},
	}
}

// check compares a change with pglogrepl's result for the message.
func (r *reference) check(msg []byte, c Change) error {
	if msg[0] == 'U' || msg[0] == 'D' || msg[0] == 'T' || msg[0] == 'M' || msg[0] == 'O' {
		if c != nil {
			return fmt.Errorf("change %T of a %q message", c, msg[0])
		}
		return nil
	}
	if msg[0] == 'I' && c == nil { // a row of another table, which the decoder does not check and which may be damaged
		oid := uint32(message(msg).uint32At(1))
		if r.plans[oid] != nil || r.relations[oid] == nil {
			return fmt.Errorf("an insert into relation %d gave nothing", oid)
		}
		return nil
	}
	parsed, err := pglogrepl.Parse(msg)
	if err != nil {
		return fmt.Errorf("pglogrepl refuses it: %w", err)
	}
	switch m := parsed.(type) {
	case *pglogrepl.BeginMessage:
		r.begin, r.rows = m, 0
		b, ok := c.(*Begin)
		if !ok || b.FinalLSN != m.FinalLSN || b.XID != m.Xid || !time.Unix(0, b.CommitTime*1000).Equal(m.CommitTime) {
			return fmt.Errorf("begin %+v, pglogrepl %+v", c, m)
		}
	case *pglogrepl.CommitMessage:
		if want := (&Commit{LSN: m.CommitLSN, EndLSN: m.TransactionEndLSN}); !reflect.DeepEqual(c, want) {
			return fmt.Errorf("commit %+v, pglogrepl %+v", c, m)
		}
	case *pglogrepl.TypeMessage:
		name := m.Name
		if m.Namespace != "" {
			name = m.Namespace + "." + name
		}
		r.types[m.DataType] = name
	case *pglogrepl.RelationMessage:
		return r.relation(m, c)
	case *pglogrepl.InsertMessage:
		return r.insert(m, c)
	}
	return nil
}

func (r *reference) relation(m *pglogrepl.RelationMessage, c Change) error {
	r.relations[m.RelationID] = m
	delete(r.plans, m.RelationID)
	namespace := m.Namespace
	if namespace == "" {
		namespace = "pg_catalog"
	}
	if (schema.Table{Schema: namespace, Name: m.RelationName}) != r.table {
		if c != nil {
			return fmt.Errorf("%T of %s.%s", c, namespace, m.RelationName)
		}
		return nil
	}
	var columns []schema.TableColumn
	for _, col := range m.Columns {
		name := r.types[col.DataType]
		if name == "" {
			name = builtins[col.DataType]
		}
		columns = append(columns, schema.TableColumn{Name: col.Name, OID: col.DataType, Type: name})
	}
	plan, err := r.mapping.Plan(r.table, columns)
	if err == nil {
		r.plans[m.RelationID] = plan
	}
	shape, ok := c.(*Relation)
	if !ok {
		return nil // it does not differ from the announcement before
	}
	sameName := func(a, b schema.TableColumn) bool { return a.Name == b.Name && a.OID == b.OID }
	if shape.OID != m.RelationID || !slices.EqualFunc(shape.Columns, columns, sameName) || (shape.Err == nil) != (err == nil) {
		return fmt.Errorf("relation %+v, pglogrepl %+v (%v)", shape, columns, err)
	}
	return nil
}

func (r *reference) insert(m *pglogrepl.InsertMessage, c Change) error {
	plan := r.plans[m.RelationID]
	ins, ok := c.(*Insert)
	if !ok || plan == nil {
		return fmt.Errorf("change %T, plan %v", c, plan != nil)
	}
	var want schema.Event
	plan.Reset(&want)
	for i, col := range m.Tuple.Columns {
		if err := plan.Set(&want, i, schema.Format(col.DataType), col.Data); err != nil {
			return err
		}
	}
	want.CommitTime = ins.Event.CommitTime
	if !time.Unix(0, want.CommitTime*1000).Equal(r.begin.CommitTime) {
		return fmt.Errorf("commit time %d, the transaction's is %v", want.CommitTime, r.begin.CommitTime)
	}
	want.Position = schema.Position{LSN: uint64(r.begin.FinalLSN), Index: r.rows}
	r.rows++
	if !reflect.DeepEqual(*ins.Event, want) {
		return fmt.Errorf("event %v, pglogrepl %v", eventJSON(ins.Event), eventJSON(&want))
	}
	return nil
}

func (m message) uint32At(i int) uint32 {
	c := cursor{rest: m[i:]}
	return c.uint32("")
}

// TestAgainstPglogrepl: both parsers find the same columns and values in all messages of real servers.
func TestAgainstPglogrepl(t *testing.T) {
	for _, major := range capturedMajors {
		for _, s := range scenarios {
			d := s.decoder()
			r := newReference(d)
			for i, m := range readCapture(t, s.file(major)) {
				c, err := d.Decode(m)
				if err != nil && s.wantErr != "" {
					break
				}
				if err == nil {
					err = r.check(m, c)
				}
				if err != nil {
					t.Errorf("%s, message %d (%q): %v", s.file(major), i, m[:1], err)
				}
			}
		}
	}
}

// TestMutations damages real messages. The decoder never panics, and if it accepts a message, it reads the same as pglogrepl.
func TestMutations(t *testing.T) {
	const rounds = 200 // per stream
	for _, s := range scenarios {
		if s.name == "large" { // its mutations would all hit the payload
			continue
		}
		stream := readCapture(t, s.file(18))
		random := rand.New(rand.NewPCG(1, 2))
		for round := range rounds {
			at := random.IntN(len(stream))
			d := s.decoder()
			r := newReference(d)
			for i, m := range stream {
				if i == at {
					m = mutate(random, m)
				}
				c, err := d.Decode(m)
				if err != nil {
					break
				}
				if err := r.check(m, c); err != nil {
					t.Fatalf("%s, round %d, message %d, mutated to %q: %v", s.file(18), round, i, m, err)
				}
			}
		}
	}
}

// mutate returns a damaged copy.
func mutate(random *rand.Rand, m []byte) []byte {
	m = slices.Clone(m)
	for range 1 + random.IntN(3) {
		if len(m) == 0 {
			break
		}
		i := random.IntN(len(m))
		switch random.IntN(5) {
		case 0:
			m[i] ^= 1 << random.IntN(8)
		case 1:
			m[i] = []byte{0, 1, 0x7f, 0x80, 0xff, 'n', 't', 'b', 'u'}[random.IntN(9)]
		case 2:
			m = m[:i]
		case 3:
			m = slices.Insert(m, i, byte(random.Uint32()))
		case 4:
			m = slices.Delete(m, i, i+1)
		}
	}
	return m
}

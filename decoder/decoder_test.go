package decoder

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"walpost/schema"
)

// feed decodes messages and fails the test at the first error.
func feed(t *testing.T, d *Decoder, messages ...message) []Change {
	t.Helper()
	var changes []Change
	for i, m := range messages {
		c, err := d.Decode(m)
		if err != nil {
			t.Fatalf("message %d (%q): %v", i, m[:1], err)
		}
		changes = append(changes, c)
	}
	return changes
}

func TestTransaction(t *testing.T) {
	d := newDecoder()
	feed(t, d, begin(0x16B3748, 1, 7), outboxRelation(plain...))

	for i := range uint32(3) {
		ins, ok := feed(t, d, plainRow(`{"a":1}`))[0].(*Insert)
		if !ok {
			t.Fatal("an outbox row gives no Insert")
		}
		want := schema.Position{LSN: 0x16B3748, Index: i}
		if ins.Event.Position != want {
			t.Errorf("row %d: position %v, want %v", i, ins.Event.Position, want)
		}
		if ins.Event.CommitTime != epoch+1 {
			t.Errorf("row %d: commit time %d, want %d", i, ins.Event.CommitTime, int64(epoch+1))
		}
	}
	c := feed(t, d, commit(0x16B3748, 0x16B3778))[0]
	if want := (&Commit{LSN: 0x16B3748, EndLSN: 0x16B3778}); !reflect.DeepEqual(c, want) {
		t.Errorf("commit: %+v, want %+v", c, want)
	}

	b := feed(t, d, begin(0x16B3800, -epoch, 8))[0]
	if want := (&Begin{FinalLSN: 0x16B3800, CommitTime: 0, XID: 8}); !reflect.DeepEqual(b, want) {
		t.Errorf("begin: %+v, want %+v", b, want)
	}
	ins := feed(t, d, plainRow(nil))[0].(*Insert)
	if ins.Event.Position.Index != 0 {
		t.Errorf("the next transaction's first row has index %d, want 0", ins.Event.Position.Index)
	}
}

// Messages that do not concern the outbox are checked and ignored. They may be inside a transaction, or outside of one, as
// non-transactional logical messages are.
func TestPassedOver(t *testing.T) {
	other := relationMessage(otherOID, "shop", "orders", column{"id", uuidOID})
	messages := map[string]message{
		"foreign insert":  row(otherOID, "1", "more columns than the relation has"),
		"update":          message("U").u32(outboxOID).u8('N').u16(1).u8('u'),
		"delete":          message("D").u32(outboxOID).u8('K').u16(1).value('t', "1"),
		"truncate":        message("T").u32(2).u8(1).u32(outboxOID).u32(otherOID),
		"logical message": message("M").u8(1).u64(5).text("prefix").u32(3).raw("abc"),
		"origin":          message("O").u64(5).text("elsewhere"),
		"type":            message("Y").u32(20000).text("").text("text"),
		"relation":        relationMessage(otherOID+1, "walpost", "inbox", plain...),
	}
	for name, m := range messages {
		t.Run(name, func(t *testing.T) {
			d := newDecoder()
			feed(t, d, begin(8, 0, 1), other, outboxRelation(plain...))
			if c := feed(t, d, m)[0]; c != nil {
				t.Errorf("change %T, want none", c)
			}
			ins := feed(t, d, plainRow(nil))[0].(*Insert)
			if ins.Event.Position.Index != 0 {
				t.Errorf("it was counted: the first outbox row has index %d", ins.Event.Position.Index)
			}
		})
	}
	feed(t, newDecoder(), messages["logical message"])
}

func TestWhatCannotBeDecodedIsAnError(t *testing.T) {
	outbox := outboxRelation(plain...)
	open := []message{begin(0x16B3748, 0, 7), outbox}
	cut := func(m message) message { return m[:len(m)-1] }
	for name, test := range map[string]struct {
		before []message
		bad    message
		want   string // the whole text
	}{
		"empty message":         {nil, nil, "decode message: it is empty"},
		"unknown message":       {open, message("S").u32(1), "decode message at 0/16B3748: type 'S' is not one of protocol 1 without streaming"},
		"begin in transaction":  {open, begin(9, 0, 8), "decode begin at 0/16B3748: transaction 8 begins before transaction 7 has ended"},
		"begin cut":             {nil, cut(begin(9, 0, 8)), "decode begin: transaction id: 4 bytes wanted, 3 left"},
		"begin too long":        {nil, begin(9, 0, 8).u8(0), "decode begin: 1 bytes too many"},
		"commit without begin":  {nil, commit(9, 10), "decode commit: no transaction is open"},
		"commit twice":          {append(open, commit(0x16B3748, 0x16B3778)), commit(0x16B3748, 0x16B3778), "decode commit: no transaction is open"},
		"commit of another":     {open, commit(0x16B3740, 0x16B3778), "decode commit at 0/16B3748: it is of a transaction that commits at 0/16B3740, the open one commits at 0/16B3748"},
		"commit ends too early": {open, commit(0x16B3748, 0x16B3748), "decode commit at 0/16B3748: its record ends at 0/16B3748 and starts at 0/16B3748"},
		"commit flags":          {open, message("C").u8(1).u64(0x16B3748).u64(0x16B3778).u64(0), "decode commit at 0/16B3748: flags are 0x1, not 0"},
		"commit cut":            {open, cut(commit(0x16B3748, 0x16B3778)), "decode commit at 0/16B3748: commit time: 8 bytes wanted, 7 left"},
		"commit too long":       {open, commit(0x16B3748, 0x16B3778).u8(0), "decode commit at 0/16B3748: 1 bytes too many"},

		"insert outside":         {[]message{outbox}, plainRow(nil), "decode insert: no transaction is open"},
		"insert after commit":    {append(open, commit(0x16B3748, 0x16B3778)), plainRow(nil), "decode insert: no transaction is open"},
		"insert of a stranger":   {open, row(1, "x"), "decode insert at 0/16B3748: relation 1 was never announced"},
		"insert without table":   {open, message("I").u16(0), "decode insert at 0/16B3748: 8 bytes wanted at least, it has 3"},
		"insert without tuple":   {open, message("I").u32(outboxOID), "decode insert at 0/16B3748: 8 bytes wanted at least, it has 5"},
		"insert of an old tuple": {open, message("I").u32(outboxOID).u8('K').u16(0), "decode insert at 0/16B3748: tuple: kind 'K', not 'N'"},
		"insert without count":   {open, message("I").u32(outboxOID).u8('N').u8(0), "decode insert at 0/16B3748: 8 bytes wanted at least, it has 7"},
		"insert too narrow":      {open, row(outboxOID, "1", "2"), "decode insert at 0/16B3748: the row has 2 columns, relation 16400 was announced with 5"},
		"insert too wide":        {open, row(outboxOID, "1", "2", "3", "4", "5", "6"), "decode insert at 0/16B3748: the row has 6 columns, relation 16400 was announced with 5"},
		"insert ends in a row":   {open, message("I").u32(outboxOID).u8('N').u16(5).value('t', "1"), "decode insert at 0/16B3748: column aggregatetype: format: 1 bytes wanted, 0 left"},
		"insert ends in length":  {open, cut(cut(row(outboxOID, "1", "2", "3", "4", ""))), "decode insert at 0/16B3748: column payload: length: 4 bytes wanted, 2 left"},
		"insert ends in value":   {open, cut(plainRow("{}")), "decode insert at 0/16B3748: column payload: value: 2 bytes wanted, 1 left"},
		"insert of 4 GB":         {open, message("I").u32(outboxOID).u8('N').u16(5).u8('t').u32(0xffffffff).raw("x"), "decode insert at 0/16B3748: column id: value: 4294967295 bytes wanted, 1 left"},
		"insert too long":        {open, plainRow("{}").u8(0), "decode insert at 0/16B3748: 1 bytes too many"},
		"insert unchanged":       {open, message("I").u32(outboxOID).u8('N').u16(5).u8('u'), "decode insert at 0/16B3748: column id: its value was left out as unchanged, which no inserted row can be"},
		"insert format":          {open, message("I").u32(outboxOID).u8('N').u16(5).u8('x'), "decode insert at 0/16B3748: column id: unknown format 'x'"},

		"relation cut":        {nil, cut(outbox), "decode relation: column type modifier: 4 bytes wanted, 3 left"},
		"relation too long":   {nil, outboxRelation(plain...).u8(0), "decode relation: 1 bytes too many"},
		"relation name":       {nil, message("R").u32(1).text("walpost").raw("outbox"), "decode relation: name: no end within the 6 bytes left"},
		"relation of 65535":   {nil, message("R").u32(1).text("walpost").text("outbox").u8('d').u16(65535).raw("0123456789"), "decode relation: 65535 columns announced, 10 bytes left"},
		"other table cut":     {nil, cut(relationMessage(1, "a", "b", plain...)), "decode relation: column type modifier: 4 bytes wanted, 3 left"},
		"other table of 9":    {nil, message("R").u32(1).text("a").text("b").u8('d').u16(9), "decode relation: 9 columns announced, 0 bytes left"},
		"type cut":            {nil, message("Y").u32(1).text("public").raw("mood"), "decode type: name: no end within the 4 bytes left"},
		"type too long":       {nil, message("Y").u32(1).text("public").text("mood").u8(1), "decode type: 1 bytes too many"},
		"truncate of 1 << 32": {open, message("T").u32(0xffffffff).u8(0).u32(1), "decode truncate at 0/16B3748: 4294967295 relations announced, 4 bytes left"},
		"truncate too long":   {open, message("T").u32(1).u8(0).u32(1).u8(0), "decode truncate at 0/16B3748: 1 relations announced, 5 bytes left"},
		"truncate cut":        {open, message("T").u32(0), "decode truncate at 0/16B3748: options: 1 bytes wanted, 0 left"},
		"message cut":         {nil, message("M").u8(1).u64(5).text("prefix").u32(4).raw("abc"), "decode logical message: content: 4 bytes wanted, 3 left"},
		"message too long":    {nil, message("M").u8(1).u64(5).text("prefix").u32(2).raw("abc"), "decode logical message: 1 bytes too many"},
		"origin cut":          {open, message("O").u64(5).raw("x"), "decode origin at 0/16B3748: name: no end within the 1 bytes left"},
		"origin too long":     {open, message("O").u64(5).text("x").u8(0), "decode origin at 0/16B3748: 1 bytes too many"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDecoder()
			feed(t, d, test.before...)
			c, err := d.Decode(test.bad)
			if err == nil {
				t.Fatalf("no error, change %T", c)
			}
			if c != nil {
				t.Errorf("change %T beside the error", c)
			}
			if err.Error() != test.want {
				t.Errorf("error:\n got %s\nwant %s", err, test.want)
			}
			checkPermanent(t, err)
		})
	}
}

func checkPermanent(t *testing.T, err error) {
	t.Helper()
	var permanent interface{ Permanent() bool }
	if !errors.As(err, &permanent) || !permanent.Permanent() {
		t.Errorf("not permanent: %v", err)
	}
	var e *Error
	if !errors.As(err, &e) || e.Message == "" || e.Err == nil {
		t.Errorf("not an *Error with its facts: %#v", err)
	}
}

// A caller that continues after an error must not get the Commit whose EndLSN covers the row that could not be decoded.
func TestNothingIsDecodedBehindAnError(t *testing.T) {
	d := newDecoder()
	feed(t, d, begin(8, 0, 1), outboxRelation(plain...))
	_, first := d.Decode(plainRow("{}").u8(0))
	for _, m := range []message{plainRow("{}"), commit(8, 16), begin(24, 0, 2)} {
		if c, err := d.Decode(m); err != first || c != nil {
			t.Errorf("%q after an error: %v, %v; want the error again", m[:1], c, err)
		}
	}
}

func TestPositionsNeverWrap(t *testing.T) {
	d := newDecoder()
	feed(t, d, begin(8, 0, 1), outboxRelation(plain...))
	d.index = 1<<32 - 1
	if _, err := d.Decode(plainRow("{}")); err == nil || !strings.Contains(err.Error(), "more outbox rows") {
		t.Errorf("row 1<<32 of a transaction: %v", err)
	}
}

package decoder

import (
	"github.com/jackc/pglogrepl"

	"walpost/schema"
)

// Change is what a message means to the outbox: a [*Begin], [*Insert], [*Commit] or [*Relation]. It points into the decoder and is
// valid until the next call of Decode.
type Change interface{ change() }

// Begin opens a transaction. It has been committed, and all its rows follow before its [Commit]. A transaction without outbox rows
// may come too: Postgres 14 announces every one of the database.
type Begin struct {
	FinalLSN   pglogrepl.LSN // where the commit record starts
	CommitTime int64         // µs since 1970-01-01 UTC, by the server's clock
	XID        uint32
}

// Insert is one row inserted into the outbox by the open transaction.
type Insert struct {
	// Event is a view of the message and of the decoder's own space. Its position is the transaction's FinalLSN and the row's number
	// among the transaction's outbox rows; the timeline is left 0, because the stream does not carry it.
	Event *schema.Event
}

// Commit ends the open transaction.
type Commit struct {
	LSN pglogrepl.LSN // where the commit record starts: the FinalLSN of its Begin

	// EndLSN is where the commit record ends. A server that is told it does not send the transaction again; LSN is one record short:
	// a transaction is left out after a restart only if its commit record starts *before* the confirmed position (SnapBuildXactNeedsSkip).
	EndLSN pglogrepl.LSN
}

// Relation tells the outbox's shape: given at its first announcement on the stream and whenever it differs from the one before.
type Relation struct {
	OID     uint32 // the table's oid: another one after DROP and CREATE
	Columns []schema.TableColumn

	// Err tells why the mapping does not hold for these columns, else nil. It is no error of the stream: only a row in this shape
	// would be one, and none may come.
	Err error
}

func (*Begin) change()    {}
func (*Insert) change()   {}
func (*Commit) change()   {}
func (*Relation) change() {}

package decoder

import (
	"github.com/jackc/pglogrepl"

	"walpost/schema"
)

// Change is the meaning of a message for the outbox: a [*Begin], [*Insert], [*Commit] or [*Relation]. It points into the decoder and is
// valid until the next call of Decode.
type Change interface{ change() }

// Begin opens a transaction, which is already committed. All its rows follow before its [Commit]. There may be transactions without outbox
// rows: Postgres 14 sends a Begin for every transaction of the database.
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

	// EndLSN is where the commit record ends. If it is confirmed, the server does not send the transaction again. To confirm LSN would not
	// be enough: after a restart the server leaves out a transaction only if its commit record starts *before* the confirmed position
	// (SnapBuildXactNeedsSkip).
	EndLSN pglogrepl.LSN
}

// Relation is the outbox's shape. It is returned for the first announcement on the stream, and for each one that differs from the one
// before.
type Relation struct {
	OID     uint32 // the table's oid: another one after DROP and CREATE
	Columns []schema.TableColumn

	// Err says why the mapping does not fit these columns; nil: it fits. It is not an error of the stream. Only a row in this shape would
	// be an error, and there may be no such row.
	Err error
}

func (*Begin) change()    {}
func (*Insert) change()   {}
func (*Commit) change()   {}
func (*Relation) change() {}

package decoder

import "github.com/jackc/pglogrepl"

// Error says which message could not be decoded and why. It is permanent: the server would send the same bytes again.
type Error struct {
	Message string        // the kind of message: "insert", "relation", …
	LSN     pglogrepl.LSN // FinalLSN of the transaction that the message belongs to; 0 outside of one
	Err     error
}

// Error returns a text such as "decode insert at 0/16B3748: column payload: 5 bytes wanted, 3 left".
func (e *Error) Error() string {
	if e.LSN == 0 {
		return "decode " + e.Message + ": " + e.Err.Error()
	}
	return "decode " + e.Message + " at " + e.LSN.String() + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Permanent returns true: a retry cannot help.
func (e *Error) Permanent() bool { return true }

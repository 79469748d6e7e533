package replication

import (
	"encoding/binary"
	"time"

	"github.com/jackc/pglogrepl"
)

// appendStatus appends a standby status update, 34 bytes in CopyData. Only the flush position moves a slot, and 0 moves nothing, so a
// status before anything is known is a mere sign of life. Write and apply say the same: they feed pg_stat_replication, and, should the
// relay be taken for a synchronous standby, decide when commits return. (pglogrepl's function turns a flush of 0 into the write position,
// which confirms what was only received.)
func appendStatus(b []byte, confirmed pglogrepl.LSN, now time.Time, reply bool) []byte {
	b = append(b, 'd', 0, 0, 0, 4+34, pglogrepl.StandbyStatusUpdateByteID)
	for range 3 { // write, flush, apply
		b = binary.BigEndian.AppendUint64(b, uint64(confirmed))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMicro()-postgresEpoch))
	if reply {
		return append(b, 1)
	}
	return append(b, 0)
}

// postgresEpoch is 2000-01-01 in µs since 1970: Postgres counts time from there.
const postgresEpoch = 946_684_800_000_000

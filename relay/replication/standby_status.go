package replication

import (
	"encoding/binary"
	"time"

	"github.com/jackc/pglogrepl"
)

// appendStatus appends a standby status update, 34 bytes in CopyData. Only the flush position moves a slot. A position of 0 moves nothing,
// so before anything is known a status only keeps the session alive. The write and apply positions are the same: pg_stat_replication shows
// them, and if the relay counts as a synchronous standby they decide when commits return. (pglogrepl's function replaces a flush position
// of 0 with the write position, which would confirm WAL that was only received.)
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

// postgresEpoch is 2000-01-01 in µs since 1970: Postgres counts time from then.
const postgresEpoch = 946_684_800_000_000

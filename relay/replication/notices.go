package replication

import (
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/relay/pgerror"
)

// notices handles the notices of the server.
type notices struct {
	log       *slog.Logger
	names     pgerror.Names
	streaming bool
}

// take logs a notice. It returns a fault for the one notice that means a loss of events: since 18, if the publication does not exist at
// this point of the WAL, the server skips its rows and only warns, "skipped loading publication". The text of the notice may be translated.
// Its SQLSTATE is also that of a harmless warning, that a standby of synchronized_standby_slots is away. So the name of the source file
// decides.
func (n *notices) take(notice *pgconn.Notice) error {
	if n.streaming && notice.Code == "55000" && strings.HasSuffix(notice.File, "pgoutput.c") {
		return pgerror.PublicationGap((*pgconn.PgError)(notice), n.names)
	}
	n.log.Warn("notice from the server", "notice", notice.Message, "severity", notice.Severity, "sqlstate", notice.Code)
	return nil
}

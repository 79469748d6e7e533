package replication

import (
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/relay/pgerror"
)

// notices takes what the server says besides.
type notices struct {
	log       *slog.Logger
	names     pgerror.Names
	streaming bool
}

// take logs a notice. It returns a fault for the one that tells of loss: since 18 a publication that does not exist at this point of the
// WAL costs its rows and gives a mere warning, "skipped loading publication". The text is translated and its SQLSTATE also stands for the
// harmless warning that a standby of synchronized_standby_slots is away, so the source file decides.
func (n *notices) take(notice *pgconn.Notice) error {
	if n.streaming && notice.Code == "55000" && strings.HasSuffix(notice.File, "pgoutput.c") {
		return pgerror.PublicationGap((*pgconn.PgError)(notice), n.names)
	}
	n.log.Warn("the server says", "notice", notice.Message, "severity", notice.Severity, "sqlstate", notice.Code)
	return nil
}

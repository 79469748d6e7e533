package catalog

import (
	"context"
	"fmt"
)

// WALLevel returns what the server writes to its WAL, and whether that is enough to stream from. Since 19 the server raises it by itself
// while a logical slot exists, so that replica is enough there.
func WALLevel(ctx context.Context, db Querier) (level string, enough bool, err error) {
	var version int
	err = db.QueryRow(ctx, `select pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('server_version_num')::int`).Scan(&level, &version)
	if err != nil {
		return "", false, fmt.Errorf("read wal_level: %w", err)
	}
	return level, level == "logical" || version >= 19_00_00 && level == "replica", nil
}

package catalog

import (
	"context"
	"fmt"
)

// WALLevel returns the server's wal_level, and whether it is enough for logical replication. From version 19 on, replica is enough, because
// the server raises the level by itself while a logical slot exists.
func WALLevel(ctx context.Context, db Querier) (level string, enough bool, err error) {
	var version int
	err = db.QueryRow(ctx, `select pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('server_version_num')::int`).Scan(&level, &version)
	if err != nil {
		return "", false, fmt.Errorf("read wal_level: %w", err)
	}
	return level, level == "logical" || version >= 19_00_00 && level == "replica", nil
}

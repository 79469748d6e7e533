package pgtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// sharedServer is a server for many tests.
type sharedServer struct {
	dsn   string
	major int
}

// servers has the servers that this test process uses, by the requested major version. A server that the process has started itself runs
// until the process ends, so that the next test does not wait for another initdb. Its home ends it.
var servers = struct {
	sync.Mutex
	byMajor map[int]func() (sharedServer, error)
}{byMajor: make(map[int]func() (sharedServer, error))}

// shared returns the server for a major version; 0 means any. It is the one that the environment names, or else one that shared starts.
// Later calls return the same result, also if it is an error.
func shared(ctx context.Context, major int) (sharedServer, error) {
	// The server must not end with the first test that asks for it.
	ctx = context.WithoutCancel(ctx)
	servers.Lock()
	get, ok := servers.byMajor[major]
	if !ok {
		get = sync.OnceValues(func() (sharedServer, error) { return openShared(ctx, major) })
		servers.byMajor[major] = get
	}
	servers.Unlock()
	return get()
}

func openShared(ctx context.Context, major int) (sharedServer, error) {
	variable := MajorVariable(major)
	if dsn := os.Getenv(variable); dsn != "" {
		return given(ctx, variable, dsn, major)
	}
	s, err := Launch(ctx, Options{Major: major})
	if err != nil {
		return sharedServer{}, err
	}
	return sharedServer{dsn: s.DSN(maintenance), major: s.Major()}, nil
}

// given checks the server that the environment names. If that server has a fault, the test fails and is not skipped, because somebody asked
// for this server.
func given(ctx context.Context, variable, dsn string, major int) (sharedServer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	server := sharedServer{dsn: dsn}
	err := session(ctx, dsn, func(conn *pgx.Conn) error {
		var level string
		var version int
		query := "SELECT current_setting('wal_level'), current_setting('server_version_num')::int"
		if err := conn.QueryRow(ctx, query).Scan(&level, &version); err != nil {
			return err
		}
		server.major = version / 10000
		switch {
		case level != "logical":
			return fmt.Errorf("wal_level is %s: run ALTER SYSTEM SET wal_level = logical there and restart it", level)
		case major != 0 && server.major != major:
			return fmt.Errorf("it is version %d", server.major)
		}
		return nil
	})
	if err != nil {
		return sharedServer{}, fmt.Errorf("use the server in %s: %w", variable, err)
	}
	return server, nil
}

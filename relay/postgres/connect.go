package postgres

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walpost/relay/pgerror"
)

// DB is an ordinary connection to Postgres, not one for replication. Like pgx's, it may be used by one goroutine at a time.
type DB struct {
	*pgx.Conn
}

// dialLimit bounds one attempt to connect, unless the user has set connect_timeout. It is short, so that people soon see that the relay
// waits.
const dialLimit = 10 * time.Second

// Connect connects to the first suitable server of the connection string.
func Connect(ctx context.Context, connString string) (*DB, error) {
	return ConnectTo(ctx, connString, nil)
}

// ConnectTo connects to the server at addr, whichever hosts the connection string names. If addr is nil, it connects as Connect does.
func ConnectTo(ctx context.Context, connString string, addr net.Addr) (*DB, error) {
	cfg, err := pgx.ParseConfig(connString)
	if err != nil {
		return nil, fmt.Errorf("read connection string: %w", err)
	}
	PrepareConfig(&cfg.Config)
	if addr != nil {
		cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, addr.Network(), addr.String())
		}
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, pgerror.ConnectError(err, &cfg.Config)
	}
	return &DB{conn}, nil
}

// Place returns which database and server a connection leads to, for commands that change something. It names them as the connection string
// does; if that has several hosts, it gives the address that was reached.
func Place(conn *pgx.Conn) string {
	cfg := conn.Config()
	server := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	if pgerror.SeveralHosts(&cfg.Config) {
		server = conn.PgConn().Conn().RemoteAddr().String()
	}
	return "database " + cmp.Or(cfg.Database, cfg.User) + " at " + server
}

// Close closes the connection. It takes at most a second.
func (d *DB) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	d.Conn.Close(ctx)
}

// PrepareConfig sets what all connections of a relay have in common: an application_name, a limit for connecting, and settings that make
// the text of a value independent of the settings of server and role. It lifts the limits for idle sessions and lock waits, because a
// connection may be idle while Kafka is away, and the creation of a slot waits for other transactions.
func PrepareConfig(cfg *pgconn.Config) {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = dialLimit
	}
	if cfg.RuntimeParams["application_name"] == "" {
		// The name is distinctive, so that only synchronous_standby_names = '*' makes commits wait for a relay.
		cfg.RuntimeParams["application_name"] = "walpost"
	}
	for name, value := range map[string]string{
		"TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "iso_8601", "extra_float_digits": "3", "bytea_output": "hex", "client_encoding": "UTF8",
		"idle_session_timeout": "0", "lock_timeout": "0",
	} {
		cfg.RuntimeParams[name] = value
	}
	if cfg.ValidateConnect == nil && pgerror.SeveralHosts(cfg) {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary // only the primary has work for a relay
	}
}

// ProbeEvery is how often a goroutine that waits for something else calls [ServerStopping], and probeLimit how long one call may take.
const (
	ProbeEvery = 2 * time.Second
	probeLimit = 2 * time.Second
)

// ServerStopping tries a new connection, and reports whether that shows that the server at addr is stopping or has stopped. It takes at
// most two seconds. If the server has not answered by then, it returns false.
func ServerStopping(ctx context.Context, connString string, addr net.Addr) bool {
	limited, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	err := ping(limited, connString, addr)
	return err != nil && pgerror.ServerGone(err)
}

// ping opens and closes a connection to the server at addr.
func ping(ctx context.Context, connString string, addr net.Addr) error {
	db, err := ConnectTo(ctx, connString, addr)
	if err != nil {
		return err
	}
	db.Close()
	return nil
}

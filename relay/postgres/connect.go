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

// DB is an ordinary connection. Like that of pgx, it belongs to one goroutine at a time.
type DB struct {
	*pgx.Conn
}

// dialLimit bounds one attempt to connect, unless the user set connect_timeout: a wait has to show before people ask.
const dialLimit = 10 * time.Second

// Connect connects to the first server of the connection string that will do.
func Connect(ctx context.Context, connString string) (*DB, error) {
	return ConnectTo(ctx, connString, nil)
}

// ConnectTo connects to the server at addr, whatever other hosts the connection string names; nil: to the first that will do.
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

// Place returns where a connection leads, for verbs that change something: the database and its server, as the connection string names them.
// Of several hosts it is the address that was reached.
func Place(conn *pgx.Conn) string {
	cfg := conn.Config()
	server := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	if pgerror.SeveralHosts(&cfg.Config) {
		server = conn.PgConn().Conn().RemoteAddr().String()
	}
	return "database " + cmp.Or(cfg.Database, cfg.User) + " at " + server
}

// Close closes the connection, and waits a second for that at most.
func (d *DB) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	d.Conn.Close(ctx)
}

// PrepareConfig sets what every connection of a relay has: a name, a limit for connecting, settings that make a value's text
// independent of the server's and the role's own, and no limit for what is idle while Kafka is away or waits for others' transactions, as
// the creation of a slot does.
func PrepareConfig(cfg *pgconn.Config) {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = dialLimit
	}
	if cfg.RuntimeParams["application_name"] == "" {
		// Distinctive, so that synchronous_standby_names = '*' is the only setting that makes commits wait for a relay.
		cfg.RuntimeParams["application_name"] = "walpost"
	}
	for name, value := range map[string]string{
		"TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "iso_8601", "extra_float_digits": "3", "bytea_output": "hex", "client_encoding": "UTF8",
		"idle_session_timeout": "0", "lock_timeout": "0",
	} {
		cfg.RuntimeParams[name] = value
	}
	if cfg.ValidateConnect == nil && pgerror.SeveralHosts(cfg) {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary // the one that there is something to do on
	}
}

// How often whoever waits for something else looks by [ServerStopping], and how long one look may take.
const (
	ProbeEvery = 2 * time.Second
	probeLimit = 2 * time.Second
)

// ServerStopping reports whether a new connection shows that the server at addr is stopping or has stopped. It takes two seconds at most;
// a server that does not answer by then is not known to be stopping.
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

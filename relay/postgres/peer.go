package postgres

// Peer is what a person knows a connection's other end by.
type Peer struct {
	Addr     string // host and port, or the socket's path
	Version  string // the server's, as it spells it
	Database string
	User     string
}

// Peer returns which server and database a connection is to, and as whom. It asks nothing.
func (d *DB) Peer() Peer {
	conn, cfg := d.PgConn(), d.Config()
	return Peer{conn.Conn().RemoteAddr().String(), conn.ParameterStatus("server_version"), cfg.Database, cfg.User}
}

package postgres

// Peer describes the other end of a connection for people.
type Peer struct {
	Addr     string // host and port, or the socket's path
	Version  string // the server's version, as the server reports it
	Database string
	User     string
}

// Peer returns which server and database the connection leads to, and its user. It sends no query.
func (d *DB) Peer() Peer {
	conn, cfg := d.PgConn(), d.Config()
	return Peer{conn.Conn().RemoteAddr().String(), conn.ParameterStatus("server_version"), cfg.Database, cfg.User}
}

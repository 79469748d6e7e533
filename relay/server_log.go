package relay

import "walpost/relay/postgres"

// logServer logs which server and database the relay works on, at the first connection and whenever they change.
func (r *Relay) logServer(db *postgres.DB) {
	is := db.Peer()
	if is == r.server {
		return
	}
	r.server = is
	r.log.Info("connected to Postgres", "server", is.Addr, "version", is.Version, "database", is.Database, "user", is.User,
		"table", r.cfg.Table.String(), "slot", r.cfg.Slot)
}

package postgres

import (
	"context"
	"log/slog"
	"time"

	"walpost/relay/pgerror"
	"walpost/schema"
)

// Config names the database, and the slot, publication and table in it.
type Config struct {
	ConnString  string        // libpq URL or keywords; empty: the PG* environment. Parsed again for every connection.
	Renew       func() string // returns the connection string for a new connection, called from any goroutine; nil: ConnString
	Slot        string
	Publication string
	Table       schema.Table
	Mapping     schema.Mapping
	Silence     time.Duration // how long a walsender may send nothing before it is checked. 0: [DefaultSilence]
	Logger      *slog.Logger  // logs changes, which is only the creation of a publication
}

// DefaultSilence is how long a walsender may send nothing before it is checked, by default.
const DefaultSilence = 15 * time.Second

// SilenceLimit returns how long a walsender may send nothing before it is checked.
func (c *Config) SilenceLimit() time.Duration {
	if c.Silence == 0 {
		return DefaultSilence
	}
	return c.Silence
}

// CurrentConnString returns the connection string for the next connection.
func (c *Config) CurrentConnString() string {
	if c.Renew != nil {
		return c.Renew()
	}
	return c.ConnString
}

// Source is the configured outbox, slot and publication in their database. It connects, reads and checks; it carries no events.
//
// Names, Connected and Replicated belong to one goroutine. Only that goroutine calls Open, Classify, MayNotPublish and the methods that
// begin with Check. The other methods read only the configuration, and any goroutine may call them.
type Source struct {
	Config
	Names      pgerror.Names // for the texts of errors; Open sets the role
	Connected  bool          // this process has connected before; CheckServer sets it
	Replicated bool          // this process has connected for replication before; the caller that connects sets it
}

// NewSource returns a source. It does not connect.
func NewSource(cfg Config) *Source {
	return &Source{Config: cfg, Names: pgerror.Names{Slot: cfg.Slot, Publication: cfg.Publication, Table: cfg.Table}}
}

// Open connects. Its errors are classified.
func (src *Source) Open(ctx context.Context) (*DB, error) {
	db, err := Connect(ctx, src.CurrentConnString())
	if err != nil {
		return nil, src.Classify(err, pgerror.Connecting)
	}
	src.Names.Role = db.Config().User
	return db, nil
}

// Classify returns err as a fault or a wait if it is one. Some errors are permanent only before the first connection of this process. For
// replication connections, that is the first replication connection.
func (src *Source) Classify(err error, at pgerror.Stage) error {
	first := !src.Connected
	if pgerror.OfWalsender(err) {
		first = !src.Replicated
	}
	return pgerror.Classify(err, at, first, src.Names)
}

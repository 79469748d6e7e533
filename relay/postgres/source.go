package postgres

import (
	"context"
	"log/slog"
	"time"

	"walpost/relay/pgerror"
	"walpost/schema"
)

// Config says which database is read, and what of it.
type Config struct {
	ConnString  string        // libpq URL or keywords; empty: the PG* environment. Read anew for every connection.
	Renew       func() string // what new connections use instead, called from any goroutine; nil: always ConnString
	Slot        string
	Publication string
	Table       schema.Table
	Mapping     schema.Mapping
	Silence     time.Duration // after so long without a word the walsender is looked at. 0: [DefaultSilence]
	Logger      *slog.Logger  // of what is done besides asking, which is to create a publication
}

// DefaultSilence is how long a walsender may say nothing before somebody looks at it.
const DefaultSilence = 15 * time.Second

// SilenceLimit returns how long a walsender may say nothing before somebody looks at it.
func (c *Config) SilenceLimit() time.Duration {
	if c.Silence == 0 {
		return DefaultSilence
	}
	return c.Silence
}

// CurrentConnString returns what the next connection uses.
func (c *Config) CurrentConnString() string {
	if c.Renew != nil {
		return c.Renew()
	}
	return c.ConnString
}

// Source is the configured outbox, slot and publication in their database. It connects, reads and checks; it carries no events.
//
// Names, Connected and Replicated belong to one goroutine, which calls Open, Classify, MayNotPublish and what begins with Check. Everything else reads only
// the configuration and may be called from any.
type Source struct {
	Config
	Names      pgerror.Names // for the texts of errors; Open sets the role
	Connected  bool          // this process has been connected once; CheckServer sets it
	Replicated bool          // and once for replication; whoever connects so sets it
}

// NewSource returns a source. It connects to nothing.
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

// Classify returns err as a fault or a wait where it is one, for the life of this process. What a role may do for replication shows when it
// first connects for that.
func (src *Source) Classify(err error, at pgerror.Stage) error {
	first := !src.Connected
	if pgerror.OfWalsender(err) {
		first = !src.Replicated
	}
	return pgerror.Classify(err, at, first, src.Names)
}

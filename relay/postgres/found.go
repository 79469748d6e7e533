package postgres

import (
	"github.com/jackc/pglogrepl"

	"walpost/internal/catalog"
	"walpost/schema"
)

// Found is what the checks found, each in its own fields.
type Found struct {
	Table       catalog.Described
	Places      []schema.TableColumn // the table's columns if their places were always the same, else nil
	At          pglogrepl.LSN        // what was committed before it is older than Table
	Binary      bool                 // the payload is worth the binary format
	Slot        *Slot
	Publication *Publication // nil: it was made just now
	Version     int          // server_version_num
}

package postgres

import (
	"github.com/jackc/pglogrepl"

	"walpost/internal/catalog"
	"walpost/schema"
)

// Found collects what the checks found. Each check sets its own fields.
type Found struct {
	Table       catalog.Described
	Places      []schema.TableColumn // the table's columns if their positions have always been the same, else nil
	At          pglogrepl.LSN        // what was committed before it is older than Table
	Binary      bool                 // the payload is bytea, so the binary format pays
	Slot        *Slot
	Publication *Publication // nil: it was created just now
	Version     int          // server_version_num
}

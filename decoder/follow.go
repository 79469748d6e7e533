package decoder

import (
	"slices"

	"github.com/jackc/pglogrepl"

	"walpost/schema"
)

// live is the catalog's description of the outbox.
type live struct {
	oid     uint32
	columns []schema.TableColumn // nil: they cannot be compared with an older shape by position
	at      pglogrepl.LSN        // transactions that were committed before it may have an older shape
}

// Follow gives the decoder the catalog's present description of the outbox, because the stream may be behind the catalog. Call it before
// the first message.
//
// The table with that oid is the outbox, whatever its name in the stream is, until another table is announced under the outbox's name. So
// no row is lost if the outbox was renamed. If the mapping does not fit a shape from before the position at, the decoder identifies the
// columns by their position in the table. So it can read rows that were written before a column was renamed.
//
// columns are all columns that the table ever had, in the order of pg_attribute. Positions never change only if no column was ever dropped
// and none is generated. Otherwise columns must be nil, and every shape has to fit by the names of its columns.
func (d *Decoder) Follow(oid uint32, columns []schema.TableColumn, at pglogrepl.LSN) {
	d.live = live{oid: oid, columns: columns, at: at}
	d.named = oid
}

// isOutbox reports whether an announced table is the outbox. It remembers the oid that has the outbox's name.
func (d *Decoder) isOutbox(oid uint32, namespace, name []byte) bool {
	if string(namespace) == d.table.Schema && string(name) == d.table.Name {
		d.named = oid
		return true
	}
	return d.live.oid != 0 && oid == d.live.oid && oid == d.named
}

// plan returns the plan for an announced shape of the outbox.
func (d *Decoder) plan(oid uint32, columns []schema.TableColumn) (*schema.Plan, error) {
	plan, err := d.mapping.Plan(d.table, columns)
	if err == nil || oid != d.live.oid || !d.open || d.begin.FinalLSN >= d.live.at {
		return plan, err
	}
	renamed := d.live.rename(columns)
	if renamed == nil {
		return nil, err
	}
	if plan, later := d.mapping.Plan(d.table, renamed); later == nil {
		return plan, nil
	}
	return nil, err
}

// rename returns the columns of an older shape with their present names. It returns nil if they are not the first columns of the present
// table.
func (l *live) rename(columns []schema.TableColumn) []schema.TableColumn {
	if len(columns) > len(l.columns) {
		return nil
	}
	renamed := slices.Clone(columns)
	for i, c := range columns {
		now := slices.IndexFunc(l.columns, func(live schema.TableColumn) bool { return live.Name == c.Name })
		if now >= 0 && now != i {
			return nil // the publication has a column list, or names were swapped: positions prove nothing
		}
		renamed[i].Name = l.columns[i].Name
	}
	return renamed
}

package decoder

import (
	"slices"

	"github.com/jackc/pglogrepl"

	"walpost/schema"
)

// live is what the catalog said of the outbox.
type live struct {
	oid     uint32
	columns []schema.TableColumn // nil: older shapes cannot be laid against them
	at      pglogrepl.LSN        // transactions that were committed before it are older
}

// Follow tells the decoder, before its first message, what the catalog says of the outbox now, because the stream may be behind it.
//
// A table with that oid is the outbox under whatever name the stream has it, until another table is announced under the outbox's name:
// so a renamed outbox loses no row. And where the mapping does not hold for a shape of before at, the columns are taken by their places:
// so rows that were written before a column was renamed are read by its new name.
//
// columns are all that the table ever had, in the order of pg_attribute: the places are the same at all times only if none was ever
// dropped and none is generated. If that is not so, columns is nil, and every shape has to fit by its names.
func (d *Decoder) Follow(oid uint32, columns []schema.TableColumn, at pglogrepl.LSN) {
	d.live = live{oid: oid, columns: columns, at: at}
	d.named = oid
}

// isOutbox reports whether an announced table is the outbox.
func (d *Decoder) isOutbox(oid uint32, namespace, name []byte) bool {
	if string(namespace) == d.table.Schema && string(name) == d.table.Name {
		d.named = oid
		return true
	}
	return d.live.oid != 0 && oid == d.live.oid && oid == d.named
}

// plan makes the plan for an announced shape of the outbox.
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

// rename returns the columns of an older shape under their present names, nil if they are not the first ones of the present.
func (l *live) rename(columns []schema.TableColumn) []schema.TableColumn {
	if len(columns) > len(l.columns) {
		return nil
	}
	renamed := slices.Clone(columns)
	for i, c := range columns {
		now := slices.IndexFunc(l.columns, func(live schema.TableColumn) bool { return live.Name == c.Name })
		if now >= 0 && now != i {
			return nil // a list of columns in the publication, or a swap of names: the places prove nothing
		}
		renamed[i].Name = l.columns[i].Name
	}
	return renamed
}

package decoder

import (
	"fmt"
	"slices"

	"walpost/schema"
)

// relation is one shape of the outbox.
type relation struct {
	oid     uint32
	columns []schema.TableColumn
	plan    *schema.Plan
	err     error // why there is no plan: the error for a row in this shape
}

// columnSize is the minimal size of a column in a Relation message: flags, an empty name, type, type modifier.
const columnSize = 1 + 1 + 4 + 4

// decodeRelation stores the shape that a table has from here on. Postgres sends a Relation message before the table's first row, and again
// whenever its cache entry was renewed, whether the shape has changed or not. The name counts, not the oid: after DROP and CREATE the new
// table with the old name is the outbox. A renamed table is no longer the outbox, unless Follow named its oid. Postgres announces a
// partition of the outbox besides its root. The partition's name differs, and the rows have the root's oid.
func (d *Decoder) decodeRelation(c *cursor) (Change, error) {
	oid := c.uint32("oid")
	namespace := c.text("namespace")
	name := c.text("name")
	c.uint8("replica identity")
	n := int(c.uint16("column count"))
	if c.err == nil && n*columnSize > len(c.rest) {
		return nil, fmt.Errorf("%d columns announced, %d bytes left", n, len(c.rest))
	}
	if c.err != nil {
		return nil, c.err
	}
	if len(namespace) == 0 { // proto.c sends pg_catalog as an empty name
		namespace = []byte("pg_catalog")
	}
	if !d.isOutbox(oid, namespace, name) {
		skipColumns(c, n)
		if err := c.end(); err != nil {
			return nil, err
		}
		d.remember(oid, nil)
		return nil, nil
	}
	columns := d.decodeColumns(c, n)
	if err := c.end(); err != nil {
		return nil, err
	}
	plan, err := d.plan(oid, columns)
	d.remember(oid, &relation{oid: oid, columns: columns, plan: plan, err: err})
	if oid == d.shape.OID && slices.Equal(columns, d.shape.Columns) {
		return nil, nil
	}
	d.shape = Relation{OID: oid, Columns: columns, Err: err}
	return &d.shape, nil
}

func (d *Decoder) remember(oid uint32, rel *relation) {
	d.relations[oid] = rel
	if rel != nil || d.last != nil && d.last.oid == oid {
		d.last = rel
	}
}

func (d *Decoder) decodeColumns(c *cursor, n int) []schema.TableColumn {
	columns := make([]schema.TableColumn, 0, n)
	for range n {
		c.uint8("column flags")
		name := c.text("column name")
		oid := c.uint32("column type")
		c.uint32("column type modifier")
		if c.err != nil {
			return nil
		}
		columns = append(columns, schema.TableColumn{Name: string(name), OID: oid, Type: d.typeOf(oid)})
	}
	return columns
}

func skipColumns(c *cursor, n int) {
	for range n {
		c.uint8("column flags")
		c.text("column name")
		c.uint32("column type")
		c.uint32("column type modifier")
	}
}

package postgres

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"walpost/internal/catalog"
	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// mostUnstreamed is how many tables an error names. The next check names the others.
const mostUnstreamed = 3

// checkUnstreamed returns the fault of tables whose rows belong to the outbox but are not in its stream; nil: there are none. since is when
// there were none yet; zero: unknown.
//
// An inheritance child looks harmless: it is in the publication, and a backfill reads it as part of its parent. But the stream announces
// its rows under the child's name. So the decoder ignores them, and they are confirmed without having been published.
func (src *Source) checkUnstreamed(table *catalog.Described, since time.Time) error {
	if len(table.Unstreamed) == 0 {
		return nil
	}
	named := table.Unstreamed[:min(len(table.Unstreamed), mostUnstreamed)]
	var found, run, again []string
	for _, o := range named {
		found, run, again = append(found, src.describeUnstreamed(o)), append(run, o.Cure(src.Table)), append(again, src.moveUnstreamed(o, table.Columns, since))
	}
	if more := len(table.Unstreamed) - len(named); more > 0 {
		found = append(found, fmt.Sprintf("and there are %d more", more))
	}
	before := ""
	if named[0].Reason == schema.Inherits {
		before = "drop the trigger or rule that inserts rows there; "
	}
	return pgerror.Permanent(reason.RowsUnstreamed, errors.New(strings.Join(found, "; ")),
		"%srun: %s; rows that were inserted there while slot %s existed are in no slot, only in the table: insert them again, for example: %s",
		before, strings.Join(run, "; "), src.Slot, strings.Join(again, "; "))
}

func (src *Source) describeUnstreamed(o schema.UnstreamedTable) string {
	if o.Reason == schema.Inherits {
		return fmt.Sprintf("table %s has the inheritance child %s, and rows that are inserted there do not reach walpost", src.Table, o.Table)
	}
	return fmt.Sprintf("partition %s of table %s is %s, so its rows are not in the WAL", o.Table, src.Table, o.Reason)
}

// moveUnstreamed returns SQL that moves the rows of such a table into the outbox. Of a partition it moves only rows since the given time,
// because older ones may have been published while the partition was logged.
func (src *Source) moveUnstreamed(o schema.UnstreamedTable, columns []schema.TableColumn, since time.Time) string {
	where := ""
	if created := src.Mapping.Names[schema.CreatedAt]; o.Reason != schema.Inherits && created != "" && !since.IsZero() {
		where = fmt.Sprintf(" WHERE %s >= %s", schema.QuoteIdent(created), schema.QuoteLiteral(since.UTC().Format(time.RFC3339)))
	}
	var list []string // names, because a child or a partition may have its columns in another order
	for _, c := range columns {
		if c.OID != 0 {
			list = append(list, schema.QuoteIdent(c.Name))
		}
	}
	names := strings.Join(list, ", ")
	return fmt.Sprintf("WITH gone AS (DELETE FROM %s%s RETURNING *) INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %[4]s FROM gone", o.Table, where, src.Table, names)
}

package schema

import "strings"

// QuoteIdent returns a catalog name for use in SQL: unchanged if it needs no quotes, else in double quotes.
func QuoteIdent(name string) string {
	if isPlain(name) {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// QuoteLiteral returns s as a string constant of SQL. It is right with any setting of standard_conforming_strings.
func QuoteLiteral(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.IndexByte(s, '\\') < 0 {
		return quoted
	}
	return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
}

func isPlain(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isIdentByte(c, i == 0) || c >= 0x80 || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return name != "" && !reserved[name]
}

// reserved are the words that PostgreSQL 14 to 18 do not accept as a table, column or role name without quotes (appendix C of the manual:
// reserved, and reserved except as function or type).
var reserved = wordSet(`
	all analyse analyze and any array as asc asymmetric authorization between binary both case cast check collate collation column
	concurrently constraint create cross current_catalog current_date current_role current_schema current_time current_timestamp
	current_user default deferrable desc distinct do else end except false fetch for foreign freeze from full grant group having ilike
	in initially inner intersect into is isnull join lateral leading left like limit localtime localtimestamp natural not notnull null
	offset on only or order outer overlaps placing primary references returning right select session_user similar some symmetric
	system_user table tablesample then to trailing true union unique user using variadic verbose when where window with`)

func wordSet(words string) map[string]bool {
	set := make(map[string]bool)
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

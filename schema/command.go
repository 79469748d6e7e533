package schema

import "strings"

// ApplyCommand returns the command that makes schema walpost and, where it is absent, the outbox t: as it is to be typed into a shell.
// Which other table is meant may have been said on a command line only, so it is repeated.
func ApplyCommand(t Table) string {
	const apply = "walpost schema apply"
	if t == DefaultTable || t == (Table{}) {
		return apply
	}
	return apply + " --table " + shellWord(t.String())
}

// shellWord returns s so that a shell takes it as one word.
func shellWord(s string) string {
	for i := range len(s) {
		if c := s[i]; c == '$' || !isIdentByte(c, false) && c != '.' {
			return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
	}
	return s
}

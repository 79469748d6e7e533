package schema

import "strings"

// Command returns the command line of `walpost schema` and a verb (print, apply, check) for the outbox t, as it is to be typed into a
// shell. Which other table than the usual one is meant may have been said on a command line only, so it is repeated.
func Command(verb string, t Table) string {
	command := "walpost schema " + verb
	if t == DefaultTable || t == (Table{}) {
		return command
	}
	return command + " --table " + shellWord(t.String())
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

package schema

import "strings"

// Command returns the command line of walpost schema and a subcommand (print, apply, check) for the outbox t, in the form to type into a
// shell. It names the table unless that is the default, because --table may be the only place where the table is set.
func Command(verb string, t Table) string {
	command := "walpost schema " + verb
	if t == DefaultTable || t == (Table{}) {
		return command
	}
	return command + " --table " + shellWord(t.String())
}

// shellWord returns s quoted as far as necessary to be one word for a shell.
func shellWord(s string) string {
	for i := range len(s) {
		if c := s[i]; c == '$' || !isIdentByte(c, false) && c != '.' {
			return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
	}
	return s
}

// Package spelling finds the name that a misspelt name probably meant, for errors that end with "did you mean …?".
//
// It always gives the same answer for the same names, and imports only the standard library. The caller chooses the limit and which
// differences count: column names and configuration keys are misspelt in different ways.
package spelling

// Nearest returns the candidate with the fewest edits from name; of several with the same number, the first one. It returns "" if all need
// limit edits or more. An edit inserts, deletes or replaces one byte. Both names are normalized with normalize before they are compared.
func Nearest(name string, candidates []string, limit int, normalize func(string) string) string {
	best, least := "", limit
	name = normalize(name)
	for _, c := range candidates {
		if d := distance(name, normalize(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance returns the Levenshtein distance: the number of insertions, deletions and substitutions that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Package spelling finds what a misspelt name was meant to be.
package spelling

// Nearest returns the candidate that a misspelt name most likely meant, or "" when none is fewer than limit edits away. Both sides are
// compared as normalize returns them.
func Nearest(name string, candidates []string, limit int, normalize func(string) string) string {
	best, least := "", limit
	for _, c := range candidates {
		if d := distance(normalize(name), normalize(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is Levenshtein's: insertions, deletions and substitutions that turn a into b.
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

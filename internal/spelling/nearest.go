// Package spelling finds what a misspelt name was meant to be, for errors that end with "did you mean …?".
//
// It promises the same answer for the same names, and imports only the standard library. What counts as near, and which differences
// count at all, is for the caller to say: column names and configuration keys are misspelt in different ways.
package spelling

// Nearest returns the candidate that is the fewest edits away from name, the first of several; "" when none is fewer than limit away. An
// edit inserts, deletes or replaces one byte. Both sides are compared as normalize returns them.
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

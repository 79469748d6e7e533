package schema

import (
	"strings"

	"walpost/internal/spelling"
)

// nearest returns the candidate that a misspelt name most likely meant, or "" if none is near enough.
func nearest(name string, candidates []string) string {
	return spelling.Nearest(name, candidates, len(name)/3+2, strings.ToLower)
}

package main

import (
	"encoding/hex"
	"regexp"
)

// hexKey matches a key in the form in which Postgres prints a value of type bytea.
var hexKey = regexp.MustCompile(`^\\x([0-9A-Fa-f]{2})*$`)

// parseKey returns the key that the flag --key names: the text itself, or the bytes that it gives in Postgres's form, such as \xff00.
func parseKey(s string) string {
	if !hexKey.MatchString(s) {
		return s
	}
	key, _ := hex.DecodeString(s[len(`\x`):]) // what matches can be decoded
	return string(key)
}

// shownKey returns a key for a column of a table in a form that --key takes, "-" for none. A key is shown as bytes if it is no text, if a
// terminal would act on a part of it, or if parseKey would take its text for bytes.
func shownKey(key *string) string {
	if key != nil && (escaped(*key) != *key || hexKey.MatchString(*key)) {
		return `\x` + hex.EncodeToString([]byte(*key))
	}
	return orDash(key)
}

package auth

import (
	"bytes"
	"testing"
)

// Both forms of the request, byte by byte: user and password change, and so do the lengths.
func TestPlainLogin(t *testing.T) {
	for _, test := range []struct{ name, stand, want string }{
		{"before 2.5", "\x00\x00\x00\x16\x00\x24\x00\x01\x00\x00\x00\x07\x00\x02me\x00\x00\x00\x06\x00unu\x00p",
			"\x00\x00\x00\x1b\x00\x24\x00\x01\x00\x00\x00\x07\x00\x02me\x00\x00\x00\x0b\x00alice\x00word"},
		{"flexible", "\x00\x00\x00\x15\x00\x24\x00\x02\x00\x00\x00\x07\x00\x02me\x00\x07\x00unu\x00p\x00",
			"\x00\x00\x00\x1a\x00\x24\x00\x02\x00\x00\x00\x07\x00\x02me\x00\x0c\x00alice\x00word\x00"},
	} {
		stand := []byte(test.stand)
		got, err := plainLogin(stand, "alice", "word")
		if err != nil || string(got) != test.want || !bytes.Equal(stand, []byte(test.stand)) {
			t.Errorf("%s: %q, want %q, %v", test.name, got, test.want, err)
		}
		for cut := range 14 {
			if _, err := plainLogin(stand[:cut], "alice", "word"); err == nil {
				t.Errorf("%s: a login of %d bytes is accepted", test.name, cut)
			}
		}
	}
	if _, err := plainLogin([]byte("\x00\x00\x00\x0e\x00\x24\x00\x03\x00\x00\x00\x07\x00\x02me\x00\x00"), "alice", "word"); err == nil {
		t.Error("an unknown form is accepted")
	}
}

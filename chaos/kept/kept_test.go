package kept

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// What a file keeps is there for the next run of the same kind, except a result that was cut off. For another run, nothing is.
func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "kept")
	open := func(of string) (f *File, results string) {
		t.Helper()
		f, lines, err := Open(name, func(first []byte) bool { return string(first) == fmt.Sprintf("%q\n", of) }, func() any { return of })
		if err != nil {
			t.Fatal(err)
		}
		return f, fmt.Sprintf("%q", lines)
	}
	add := func(f *File, result any) {
		t.Helper()
		if err := f.Add(result); err != nil {
			t.Fatal(err)
		}
	}
	f, got := open("a")
	if got != "[]" {
		t.Errorf("at first it has %s", got)
	}
	add(f, 1)
	add(f, []string{"x"})
	if _, err := f.file.WriteString(`{"cut`); err != nil { // it was killed
		t.Fatal(err)
	}
	f, got = open("a")
	if want := `["1\n" "[\"x\"]\n"]`; got != want {
		t.Errorf("the second run has %s, want %s", got, want)
	}
	add(f, 2)
	if _, got = open("a"); got != `["1\n" "[\"x\"]\n" "2\n"]` {
		t.Errorf("the third run has %s", got)
	}
	if _, got = open("b"); got != "[]" {
		t.Errorf("another run has %s", got)
	}
	if f, got = open("a"); got != "[]" {
		t.Errorf("after another run, the first one has %s", got)
	}
	if err := f.End(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("the file is there at the end")
	}
	none := &File{}
	add(none, 1)
	if err := none.End(); err != nil {
		t.Error(err)
	}
}

package reason

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"testing"
)

// TestOf: the outermost code counts, even if it is wrapped or joined, and no text changes.
func TestOf(t *testing.T) {
	cause := errors.New("cause")
	inner := With(SlotLost, cause)
	for _, c := range []struct {
		err  error
		want Code
	}{
		{nil, ""},
		{cause, ""},
		{inner, SlotLost},
		{fmt.Errorf("around: %w", inner), SlotLost},
		{With(StreamLost, fmt.Errorf("around: %w", inner)), StreamLost},
		{With("", inner), SlotLost},
		{errors.Join(cause, inner), SlotLost},
	} {
		if got := Of(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
	if inner.Error() != "cause" || !errors.Is(inner, cause) || With(SlotLost, nil) != nil {
		t.Error("a code changes the error")
	}
}

// TestCodes: each code is a unique word that fits into a label, and has a comment with its meaning.
func TestCodes(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	word, seen := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`), map[string]bool{}
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			code, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil || !word.MatchString(code) || seen[code] || v.Comment == nil {
				t.Errorf("%s = %q: not one word, there twice, or without a meaning", v.Names[0], code)
			}
			seen[code] = true
		}
	}
	if len(seen) < 50 {
		t.Errorf("%d codes", len(seen))
	}
}

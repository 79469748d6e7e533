package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// setting is one value as somebody wrote it.
type setting struct {
	key    *key
	text   string
	pairs  Headers // instead of text, of a key that holds headers
	file   bool    // text is the name of the file that holds the value
	origin string  // where it was written, as people look for it
}

// readFile returns what a YAML file sets.
func readFile(name string) (settings []setting, errs []error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, []error{fmt.Errorf("read configuration: %w; name a file that is there, or none: %s is read if it is there", err, DefaultFile)}
	}
	if err != nil {
		return nil, []error{fmt.Errorf("read configuration: %w; name a file that this user may read", err)}
	}
	return parseFile(name, text)
}

// parseFile returns what the text of the file sets.
//
// The library parses the file, and no more: its strict decoder stops at the first mistake and its errors quote the lines around it,
// passwords included.
func parseFile(name string, text []byte) (settings []setting, errs []error) {
	f := &file{name: name}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // some editors begin a file with it
	tree, err := parser.ParseBytes(text, 0)
	var wrong *yaml.SyntaxError
	switch {
	case errors.As(err, &wrong):
		f.fail(wrong.GetToken(), "no YAML: %s", quotes.ReplaceAllStringFunc(wrong.GetMessage(), shownQuoted))
		return nil, f.errs
	case err != nil:
		return nil, []error{fmt.Errorf("%s: no YAML", name)} // another error's text may quote the file
	}
	for i, doc := range tree.Docs {
		if i > 0 && doc.Body != nil {
			f.fail(doc.Body.GetToken(), "a second YAML document; a configuration is one")
			break
		}
		f.section("", doc.Body)
	}
	return f.settings, f.errs
}

// quotes are what the parser's messages quote: a key that stands twice, and whatever else it met, which may be a secret.
var quotes = regexp.MustCompile(`"(.*)"`)

func shownQuoted(q string) string {
	for _, k := range keys {
		if strings.HasSuffix("."+k.path, "."+strings.Trim(q, `"`)) {
			return q
		}
	}
	return `"…"`
}

// file is the walk through one file.
type file struct {
	name     string
	settings []setting
	errs     []error
}

func (f *file) origin(t *token.Token) string {
	if t == nil || t.Position == nil {
		return f.name
	}
	return fmt.Sprintf("%s:%d:%d", f.name, t.Position.Line, t.Position.Column)
}

func (f *file) fail(t *token.Token, format string, args ...any) {
	f.errs = append(f.errs, errors.New(f.origin(t)+": "+fmt.Sprintf(format, args...)))
}

// section takes what stands below a section; nothing at all sets nothing.
func (f *file) section(path string, node ast.Node) {
	switch n := node.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
	case *ast.MappingNode:
		for _, pair := range n.Values {
			f.pair(path, pair)
		}
	case *ast.MappingValueNode:
		f.pair(path, n)
	default:
		if path == "" {
			path = "a configuration"
		}
		f.fail(node.GetToken(), "%s holds keys, each with a colon and a space behind it; found %s", path, kind(node))
	}
}

func (f *file) pair(section string, pair *ast.MappingValueNode) {
	name, ok := plainText(pair.Key)
	if !ok {
		f.fail(pair.Key.GetToken(), "a key is a name; found %s", kind(pair.Key))
		return
	}
	path := join(section, name)
	for _, s := range sections {
		if s == path {
			f.section(path, pair.Value)
			return
		}
	}
	k, file := lookup(path)
	switch {
	case k == nil:
		f.fail(pair.Key.GetToken(), "unknown key %s%s", PrintableName(path), didYouMean(nearestPath(path)))
		return
	case sectionOf(k.path) != section:
		f.fail(pair.Key.GetToken(), "unknown key %s at this level; write %s below %s", path, strings.TrimPrefix(path, sectionOf(k.path)+"."), sectionOf(k.path))
		return
	}
	if _, null := pair.Value.(*ast.NullNode); null {
		return // "key:" with nothing behind it leaves the default
	}
	if k.headers {
		f.headers(k, pair.Value)
		return
	}
	text, ok := plainText(pair.Value)
	if !ok {
		f.fail(pair.Value.GetToken(), "%s: wants one plain value; found %s", path, kind(pair.Value))
		return
	}
	f.settings = append(f.settings, setting{key: k, text: text, file: file, origin: f.origin(pair.Value.GetToken())})
}

// headers takes what stands below a key that holds headers, whose names may be any.
func (f *file) headers(k *key, node ast.Node) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		f.fail(node.GetToken(), "%s holds names and values, each with a colon and a space between them; found %s", k.path, kind(node))
		return
	}
	pairs := Headers{}
	for _, v := range values {
		name, ok := plainText(v.Key)
		if !ok {
			f.fail(v.Key.GetToken(), "%s: a header's name is a plain value; found %s", k.path, kind(v.Key))
			continue
		}
		value, ok := plainText(v.Value)
		if !ok {
			f.fail(v.Value.GetToken(), `%s: the value of %s is one plain value, "" for an empty one; found %s`, k.path, PrintableName(name), kind(v.Value))
			continue
		}
		pairs[name] = value // the parser has refused a name that stands twice
	}
	f.settings = append(f.settings, setting{key: k, pairs: pairs, origin: f.origin(node.GetToken())})
}

// plainText returns a scalar as it was written: a password of digits keeps its leading zeros, and one that reads no is not false.
func plainText(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimRight(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	return "", false
}

// kind says what a node is.
func kind(node ast.Node) string {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "an anchor or a reference to one, which this file cannot have"
	case *ast.TagNode:
		return "a tag, which this file cannot have"
	case *ast.NullNode:
		return "nothing"
	}
	return "a plain value"
}

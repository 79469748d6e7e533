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
	pairs  Headers // the value of a key that holds headers, instead of text
	file   bool    // text is the name of the file that holds the value
	origin string  // where it was written, in a form that people can find
}

// readFile returns the settings of a YAML file.
func readFile(name string) (settings []setting, errs []error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, []error{fmt.Errorf("read configuration: %w; name a file that exists, or none: %s is read if it exists", err, DefaultFile)}
	}
	if err != nil {
		return nil, []error{fmt.Errorf("read configuration: %w; name a file that this user may read", err)}
	}
	return parseFile(name, text)
}

// parseFile returns the settings in the text of the file.
//
// It uses only the parser of the library. The library's strict decoder would stop at the first mistake, and its errors quote the lines
// around it, with their passwords.
func parseFile(name string, text []byte) (settings []setting, errs []error) {
	f := &file{name: name}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // a byte order mark, which some editors write
	tree, err := parser.ParseBytes(text, 0)
	var wrong *yaml.SyntaxError
	switch {
	case errors.As(err, &wrong):
		f.fail(wrong.GetToken(), "not valid YAML: %s", quotes.ReplaceAllStringFunc(wrong.GetMessage(), shownQuoted))
		return nil, f.errs
	case err != nil:
		return nil, []error{fmt.Errorf("%s: not valid YAML", name)} // another error's text may quote the file
	}
	for i, doc := range tree.Docs {
		if i > 0 && doc.Body != nil {
			f.fail(doc.Body.GetToken(), "a second YAML document; a configuration is a single document")
			break
		}
		f.section("", doc.Body)
	}
	return f.settings, f.errs
}

// quotes matches what the parser's messages quote: a duplicate key, or other text of the file, which may be a secret.
var quotes = regexp.MustCompile(`"(.*)"`)

func shownQuoted(q string) string {
	for _, k := range keys {
		if strings.HasSuffix("."+k.path, "."+strings.Trim(q, `"`)) {
			return q
		}
	}
	return `"…"`
}

// file gathers the settings and errors of one file.
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

// section reads the keys below a section. An empty section sets nothing.
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
		f.fail(node.GetToken(), "%s holds keys, each with a colon and a space after it; found %s", path, kind(node))
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
		return // "key:" without a value leaves the default
	}
	if k.headers {
		f.headers(k, pair.Value)
		return
	}
	text, ok := plainText(pair.Value)
	if !ok {
		f.fail(pair.Value.GetToken(), "%s: needs one plain value; found %s", path, kind(pair.Value))
		return
	}
	f.settings = append(f.settings, setting{key: k, text: text, file: file, origin: f.origin(pair.Value.GetToken())})
}

// headers reads the names and values below a key that holds headers. A header may have any name.
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
		pairs[name] = value // the parser has refused duplicate names
	}
	f.settings = append(f.settings, setting{key: k, pairs: pairs, origin: f.origin(node.GetToken())})
}

// plainText returns a scalar as it was written: a password of digits keeps its leading zeros, and the password no does not become false.
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
		return "an anchor or a reference to one, which this file must not have"
	case *ast.TagNode:
		return "a tag, which this file must not have"
	case *ast.NullNode:
		return "nothing"
	}
	return "a plain value"
}

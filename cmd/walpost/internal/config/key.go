package config

import (
	"reflect"
	"strings"
)

// key is one key of the configuration.
type key struct {
	path    string // as in the file, with dots between the levels
	env     string // its environment variable
	headers bool   // it holds headers
	secret  bool   // it may also be set by naming a file that holds it
	live    bool   // a running program takes over a new value
	off     bool   // an empty value counts, and turns the feature off
	later   string // a value that only a later version supports; "": none
	now     string // what that value means in this version; "": nothing, and the key is not shown
	field   []int  // where it is in Config
}

// keys lists all keys, in the order of the file; sections are the levels above them.
var keys, sections = collect(reflect.TypeFor[Config](), "", nil)

// byPath finds a key by its path.
var byPath = func() map[string]*key {
	m := map[string]*key{}
	for i := range keys {
		m[keys[i].path] = &keys[i]
	}
	return m
}()

func collect(t reflect.Type, prefix string, field []int) (keys []key, sections []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("key")
		if name == "" {
			continue
		}
		path, index := prefix+name, append(field[:len(field):len(field)], i)
		if f.Type.Kind() == reflect.Struct {
			below, deeper := collect(f.Type, path+".", index)
			keys, sections = append(keys, below...), append(append(sections, path), deeper...)
			continue
		}
		keys = append(keys, key{path: path, env: envName(path), headers: f.Type == reflect.TypeFor[Headers](), secret: f.Type == reflect.TypeFor[Secret](), live: f.Tag.Get("live") == "yes", off: f.Tag.Get("empty") == "off",
			later: f.Tag.Get("later"), now: f.Tag.Get("now"), field: index})
	}
	return keys, sections
}

// envPrefix is the prefix of all environment variables.
const envPrefix = "WALPOST_"

// envSpelling replaces the characters of a key that no variable contains.
var envSpelling = strings.NewReplacer(".", "_", "-", "_")

func envName(path string) string {
	return envPrefix + strings.ToUpper(envSpelling.Replace(path))
}

// With these suffixes, the name of a secret means the file that holds it.
const (
	fileSuffix    = "_file"
	envFileSuffix = "_FILE"
)

// lookup returns the key that a path names, and whether the path names the file that holds the value.
func lookup(path string) (k *key, file bool) {
	if k := byPath[path]; k != nil {
		return k, false
	}
	if k := byPath[strings.TrimSuffix(path, fileSuffix)]; k != nil && k.secret {
		return k, true
	}
	return nil, false
}

// KafkaKeys lists the properties that -X accepts.
func KafkaKeys() (names []string) {
	for _, k := range keys {
		if name, ok := strings.CutPrefix(k.path, "kafka."); ok {
			names = append(names, name)
			if k.secret {
				names = append(names, name+fileSuffix)
			}
		}
	}
	return names
}

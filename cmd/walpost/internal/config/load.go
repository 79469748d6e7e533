package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"
)

// DefaultFile is read if it exists and no other file is named.
const DefaultFile = "./walpost.yaml"

// Sources are the places a configuration comes from. Later fields override earlier ones.
type Sources struct {
	File    string   // a YAML file, which must exist; "": DefaultFile if it exists
	Environ []string // NAME=value, as [os.Environ] gives them
	Flags   []Flag   // if a name is repeated, the last value counts
}

// Flag is a value from the command line.
type Flag struct {
	Name  string // as it was typed, for errors: --slot
	Path  string // the key that it sets
	Value string
}

// Load returns the configuration from the sources, checked. The error joins one error for each problem. After an error the configuration
// must not be used.
func Load(s Sources) (*Config, error) {
	c := Default()
	l := &loader{won: map[*key]setting{}}
	if s.File == "" {
		if _, err := os.Stat(DefaultFile); !errors.Is(err, fs.ErrNotExist) {
			s.File = strings.TrimPrefix(DefaultFile, "./")
		}
	}
	if s.File != "" {
		l.level(readFile(s.File))
	}
	settings, errs, ignored := readEnvironment(s.Environ)
	l.level(settings, errs)
	for _, f := range s.Flags {
		l.level(readFlag(f))
	}
	l.databaseURL(s.Environ)
	wrong := l.apply(c)
	for _, name := range ignored {
		c.warn("environment: ignoring %s, which is not one of walpost's variables", PrintableName(name))
	}
	c.warnOfOverridden(s.Environ)
	c.warnOfLater()
	c.warnOfSecrets(s.Environ)
	return c, errors.Join(append(l.errs, c.validate(wrong)...)...)
}

// loader gathers settings from low to high precedence.
type loader struct {
	won  map[*key]setting // the setting with the highest precedence so far
	errs []error
}

func (l *loader) level(settings []setting, errs []error) {
	l.errs = append(l.errs, errs...)
	seen := map[*key]setting{}
	for _, s := range settings {
		if other, ok := seen[s.key]; ok {
			l.errs = append(l.errs, fmt.Errorf("%s: %s: is also set at %s; remove one of them", s.origin, s.key.path, other.origin))
		}
		seen[s.key], l.won[s.key] = s, s
	}
}

func readFlag(f Flag) (settings []setting, errs []error) {
	k, file := lookup(f.Path)
	if k == nil {
		name := strings.TrimPrefix(f.Path, "kafka.")
		return nil, []error{fmt.Errorf("%s: unknown property %s%s", f.Name, PrintableName(name), propertyMeant(name))}
	}
	if name, ok := strings.CutPrefix(f.Name, "-X "); ok && k.secret && !file {
		errs = append(errs, fmt.Errorf("%s: everybody on this machine sees it in the process list; set %s, or name a file that holds it with -X %s%s=FILE", f.Name, k.env, name, fileSuffix))
	}
	return []setting{{key: k, text: f.Value, file: file, origin: f.Name}}, errs
}

// databaseURL is the variable that many platforms set.
const databaseURL = "DATABASE_URL"

// databaseURL uses DATABASE_URL if nothing else sets postgres.url.
func (l *loader) databaseURL(environ []string) {
	k := byPath["postgres.url"]
	if s, ok := l.won[k]; ok && (s.file || s.text != "") {
		return
	}
	for _, v := range environ {
		if url, ok := strings.CutPrefix(v, databaseURL+"="); ok && url != "" {
			l.won[k] = setting{key: k, text: url, origin: databaseURL}
		}
	}
}

// apply sets the keys to the settings in l.won, and returns the paths of the keys that could not be set.
func (l *loader) apply(c *Config) (wrong map[string]bool) {
	wrong = map[string]bool{}
	for i := range keys {
		k := &keys[i]
		s, ok := l.won[k]
		if !ok {
			continue
		}
		c.origins[k.path] = s.origin
		if s.file {
			c.files[k.path] = s.text
		}
		if s.pairs != nil {
			reflect.ValueOf(c).Elem().FieldByIndex(k.field).Set(reflect.ValueOf(s.pairs))
			continue
		}
		text, err := s.value()
		if err == nil {
			err = c.set(k, text)
		}
		if err != nil {
			wrong[k.path] = true
			l.errs = append(l.errs, c.problem(k.path, err))
		}
	}
	return wrong
}

// value returns the text of the setting. Line breaks at the end of a file do not count.
func (s setting) value() (string, error) {
	if !s.file {
		return s.text, nil
	}
	text, err := os.ReadFile(s.text)
	if err != nil {
		if !strings.HasPrefix(s.text, "/") && !strings.HasPrefix(s.text, ".") {
			// The name may be the secret itself, so the error must not show it.
			return "", errors.New("does not name a readable file; a key that ends in _file needs the path of a file that holds the value")
		}
		return "", err
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// problem returns an error with the place, the key and what is wrong.
func (c *Config) problem(path string, err error) error {
	if origin := c.origins[path]; origin != "" {
		return fmt.Errorf("%s: %s: %w", origin, path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

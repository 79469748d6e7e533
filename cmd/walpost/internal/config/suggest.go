package config

import (
	"fmt"
	"strings"

	"walpost/internal/spelling"
)

// Nearest returns the candidate that a misspelt name most likely meant, or else the shortest one that begins with the name and a dot; "" if
// there is none. Capitals and the separators between words do not count.
func Nearest(name string, candidates []string) string {
	best := spelling.Nearest(name, candidates, max(3, len(name)/3+1), plain)
	if best != "" {
		return best
	}
	for _, c := range candidates {
		if strings.HasPrefix(plain(c), plain(name)+".") && (best == "" || len(c) < len(best)) {
			best = c
		}
	}
	return best
}

var separators = strings.NewReplacer("_", ".", "-", ".")

func plain(name string) string { return separators.Replace(strings.ToLower(name)) }

// didYouMean returns the end of an error about an unknown name: the name that was probably meant.
func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return "; did you mean " + name + "?"
}

// propertyMeant returns the end of an error about a name that is not a property of Kafka. People also write the section, as in the file, or
// mean a key of another section.
func propertyMeant(name string) string {
	if k, _ := lookup(name); k != nil && sectionOf(k.path) != "kafka" {
		return fmt.Sprintf("; -X sets properties of Kafka: set %s in the file, or %s", k.path, k.env)
	}
	if near := Nearest(strings.TrimPrefix(name, "kafka."), KafkaKeys()); near != "" {
		return "; did you mean -X " + near + "=…?"
	}
	return ""
}

// nearestPath returns the key that an unknown path most likely meant: a key of the same name in another section, or a key with a similar
// name in the same section.
func nearestPath(path string) string {
	section, name := "", path
	for _, s := range sections {
		if rest, ok := strings.CutPrefix(path, s+"."); ok && len(s) > len(section) {
			section, name = s, rest
		}
	}
	for _, k := range keys {
		if strings.HasSuffix(k.path, "."+name) {
			return k.path
		}
	}
	if near := Nearest(name, below(section)); near != "" {
		return join(section, near)
	}
	return ""
}

// below lists the names that may be directly in a section.
func below(section string) (names []string) {
	for _, s := range sections {
		if i := strings.LastIndexByte(s, '.'); section == s[:max(i, 0)] {
			names = append(names, s[i+1:])
		}
	}
	for _, k := range keys {
		if sectionOf(k.path) == section {
			name := strings.TrimPrefix(k.path, section+".")
			names = append(names, name)
			if k.secret {
				names = append(names, name+fileSuffix)
			}
		}
	}
	return names
}

// sectionOf returns the section of a key. It is not always the part before the last dot, because Kafka's names contain dots.
func sectionOf(path string) (section string) {
	for _, s := range sections {
		if strings.HasPrefix(path, s+".") && len(s) > len(section) {
			section = s
		}
	}
	return section
}

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// PrintableName returns the part of a name that may be shown: at most 60 letters, digits, dots, underscores and minuses. The name may be a
// value in the wrong place, and so a secret.
func PrintableName(name string) string {
	for i, r := range name {
		legal := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-'
		if !legal || i == 60 {
			return name[:i] + "…"
		}
	}
	return name
}

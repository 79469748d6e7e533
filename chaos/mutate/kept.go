package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"walpost/chaos/kept"
	"walpost/chaos/mutations"
)

// openKept opens the file that keeps outcomes. It returns those that it has of these files of the repository.
func openKept(name string, t *tree) (file *kept.File, outcomes map[mutations.Mutation]mutations.Outcome, err error) {
	sum, err := t.sum()
	if err != nil {
		return nil, nil, err
	}
	file, lines, err := kept.Open(name, func(first []byte) bool { return string(first) == `"`+sum+"\"\n" }, func() any { return sum })
	if err != nil {
		return nil, nil, err
	}
	outcomes = map[mutations.Mutation]mutations.Outcome{}
	for _, line := range lines {
		var o mutations.Outcome
		if err := json.Unmarshal(line, &o); err != nil {
			return nil, nil, err
		}
		outcomes[o.Mutation] = o
	}
	return file, outcomes, nil
}

// divide returns the outcomes of mutations, as far as they are known, and the mutations that are left.
func divide(all []mutations.Mutation, known map[mutations.Mutation]mutations.Outcome) (outcomes []mutations.Outcome, left []mutations.Mutation) {
	outcomes = make([]mutations.Outcome, len(all))
	for i, m := range all {
		if o, found := known[m]; found {
			outcomes[i] = o
		} else {
			left = append(left, m)
		}
	}
	return outcomes, left
}

// sum returns the SHA-256 of the names and contents of all files, except documentation.
func (t *tree) sum() (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(t.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, ".md") {
			return err
		}
		name, err := filepath.Rel(t.root, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		one := sha256.Sum256(text)
		sum.Write([]byte(name + "\x00"))
		sum.Write(one[:])
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

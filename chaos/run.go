package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"

	"walpost/chaos/kept"
)

// run is one run of a schedule, which may be interrupted and go on later.
type run struct {
	facts
	*kept.File
	results map[int]report // of the rounds that are over
}

// facts are what results have to agree on to belong to one run.
type facts struct {
	Walpost string // the SHA-256 of the binary
	Only    string
	Faults  int
	Each    int
	Seed    uint64
}

// openRun goes on with the run that o.keep has, if that run is one of the same binary with the same options. Otherwise it begins another one.
func openRun(o options, binary string) (*run, error) {
	walpost, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(walpost)
	r := &run{facts: facts{Walpost: hex.EncodeToString(sum[:]), Only: o.only, Faults: o.faults, Each: o.each, Seed: o.seed}, results: map[int]report{}}
	same := func(first []byte) bool {
		var old facts
		if json.Unmarshal(first, &old) != nil {
			return false
		}
		mine := r.facts
		if mine.Seed == 0 {
			mine.Seed = old.Seed
		}
		if mine != old {
			return false
		}
		r.facts = mine
		return true
	}
	var lines [][]byte
	r.File, lines, err = kept.Open(o.keep, same, func() any {
		if r.Seed == 0 {
			r.Seed = 1 + rand.Uint64N(999_999) // 0 is none
		}
		return r.facts
	})
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		var rep report
		if err := json.Unmarshal(line, &rep); err != nil {
			return nil, err
		}
		r.results[rep.Round] = rep
	}
	if len(lines) > 0 {
		progress("%s has the results of %d rounds: the run goes on", o.keep, len(lines))
	}
	return r, nil
}

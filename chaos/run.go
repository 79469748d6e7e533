package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
)

// run is one run of a schedule, which may be interrupted and go on later. A file keeps its facts, and then the result of each round, a line each.
type run struct {
	facts
	results map[int]report // of the rounds that are over
	file    *os.File       // nil: nothing is kept
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
	whole := 0
	if o.keep != "" {
		kept, err := os.ReadFile(o.keep)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		whole = r.read(kept)
	}
	if r.Seed == 0 {
		r.Seed = rand.Uint64N(1_000_000)
	}
	if o.keep == "" {
		return r, nil
	}
	if err := r.open(o.keep, int64(whole)); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the results of the rounds: %w", err), r.close())
	}
	if len(r.results) > 0 {
		progress("%s has the results of %d rounds: the run goes on", o.keep, len(r.results))
	}
	return r, nil
}

// read reads what a file kept. It returns how many bytes stay: none, if they are of another run, or all but a last line that was cut off.
func (r *run) read(kept []byte) (whole int) {
	lines := bytes.SplitAfter(kept, []byte("\n"))
	var old facts
	if json.Unmarshal(lines[0], &old) != nil {
		return 0
	}
	same := r.facts
	if same.Seed == 0 {
		same.Seed = old.Seed
	}
	if old != same {
		return 0
	}
	r.Seed, whole = old.Seed, len(lines[0])
	for _, line := range lines[1:] {
		var rep report
		if !bytes.HasSuffix(line, []byte("\n")) || json.Unmarshal(line, &rep) != nil {
			break
		}
		r.results[rep.Round] = rep
		whole += len(line)
	}
	return whole
}

// open opens the file for further results, behind the first bytes of it.
func (r *run) open(name string, whole int64) (err error) {
	if r.file, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644); err != nil {
		return err
	}
	if err = r.file.Truncate(whole); err == nil {
		_, err = r.file.Seek(0, io.SeekEnd)
	}
	if err == nil && whole == 0 {
		err = r.write(r.facts)
	}
	return err
}

// add keeps the result of a round.
func (r *run) add(rep report) error {
	if r.file == nil {
		return nil
	}
	return r.write(rep)
}

func (r *run) write(line any) error {
	text, err := json.Marshal(line)
	if err == nil {
		_, err = r.file.Write(append(text, '\n'))
	}
	if err == nil {
		err = r.file.Sync()
	}
	return err
}

// end removes the file: the run is over.
func (r *run) end(name string) error {
	if r.file == nil {
		return nil
	}
	return errors.Join(r.close(), os.Remove(name))
}

// close ends the work on the file, which stays.
func (r *run) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

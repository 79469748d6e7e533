// Package kept keeps the results of a long run in a file, so that a run that was interrupted goes on later. The first line of the file says what run
// the results are of. Each other line is a result. All lines are JSON.
package kept

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// File keeps results. The zero value keeps nothing. It is not safe for concurrent use.
type File struct {
	name string
	file *os.File // nil: nothing is kept
}

// Open opens a file, which need not exist, and returns the results that it has. same reports whether the results behind a first line are of this run.
// If they are not, they are removed, and begin begins the run and returns its first line. A result that was cut off is removed, too. With the name ""
// nothing is kept, and begin is called.
func Open(name string, same func(first []byte) bool, begin func() any) (f *File, results [][]byte, err error) {
	f = &File{name: name}
	if name == "" {
		begin()
		return f, nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	whole := 0
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) || !json.Valid(line) || whole == 0 && !same(line) {
			break
		}
		if whole > 0 {
			results = append(results, line)
		}
		whole += len(line)
	}
	if f.file, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644); err != nil {
		return nil, nil, err
	}
	if err = f.file.Truncate(int64(whole)); err == nil {
		_, err = f.file.Seek(0, io.SeekEnd)
	}
	if err == nil && whole == 0 {
		err = f.Add(begin())
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("keep results: %w", err), f.Close())
	}
	return f, results, nil
}

// Add keeps a result.
func (f *File) Add(result any) error {
	if f.file == nil {
		return nil
	}
	line, err := json.Marshal(result)
	if err == nil {
		_, err = f.file.Write(append(line, '\n'))
	}
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("keep a result: %w", err)
	}
	return nil
}

// Close ends the work on the file, which stays.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// End removes the file: the run is over.
func (f *File) End() error {
	if f.file == nil {
		return nil
	}
	return errors.Join(f.Close(), os.Remove(f.name))
}

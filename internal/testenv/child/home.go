// Package child runs server processes that must not outlive their starter.
//
// A test or the demo starts Postgres or Kafka as its child, in a [Home]: a
// scratch folder with the children that live in it. Closing the home ends
// them and removes the folder. When the starter dies without closing it (a
// panic, a time-out of `go test`, kill -9), two things still hold: on Linux
// the kernel sends each child its death signal, and everywhere a watcher
// process, told by the end of its standard input, ends the children and
// removes the folder.
package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// Home is a scratch folder and the server processes that live in it. Its
// methods may be called from any goroutine.
type Home struct {
	dir    string
	user   *User
	leash  io.Closer // the watcher's standard input: closed, it cleans up
	reaped chan error

	mu       sync.Mutex
	closed   bool
	children []*Process
}

// watcher waits for the end of its input, ends what is still listed in
// pids/ (one file per process, named by its number, holding the signal that
// ends it) and removes the folder. Ten seconds of patience: a server writes
// its last files while it goes.
const watcher = `
read -r _ || :
for f in "$1"/pids/*; do
	[ -e "$f" ] && kill -"$(cat "$f")" "${f##*/}" 2>/dev/null
done
n=0
until rm -rf -- "$1" 2>/dev/null || [ $n -ge 100 ]; do n=$((n + 1)); sleep 0.1; done
`

// NewHome makes a scratch folder whose name starts with prefix. When user is
// not nil the folder is that user's, under a parent it can enter.
func NewHome(prefix string, user *User) (*Home, error) {
	parent := os.TempDir()
	if !user.CanEnter(parent) {
		parent = "/tmp" // root's TMPDIR may be a folder of its own
	}
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, err
	}
	h := &Home{dir: dir, user: user, reaped: make(chan error, 1)}
	if err := h.prepare(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return h, nil
}

// prepare hands the folder to its user and puts the watcher on its leash.
func (h *Home) prepare() error {
	if err := os.Mkdir(h.pids(), 0o700); err != nil {
		return err
	}
	if h.user != nil {
		if err := os.Chown(h.dir, h.user.UID, h.user.GID); err != nil {
			return fmt.Errorf("hand %s to user %s: %w", h.dir, h.user.Name, err)
		}
	}
	cmd := exec.Command("/bin/sh", "-c", watcher, "sh", h.dir)
	cmd.Dir = "/"
	// A group of its own, so that Ctrl-C in the terminal does not end the
	// one process that has to stay until the end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the watcher of %s: %w", h.dir, err)
	}
	h.leash = leash
	go func() { h.reaped <- cmd.Wait() }()
	return nil
}

// Dir is the folder's path. It is gone after Close.
func (h *Home) Dir() string { return h.dir }

// User is whom the folder belongs to: nil for the starter itself.
func (h *Home) User() *User { return h.user }

// Path is the path of a name inside the folder.
func (h *Home) Path(name ...string) string {
	return filepath.Join(append([]string{h.dir}, name...)...)
}

// WriteFile writes a file inside the folder, readable by its user alone, and
// gives back its path.
func (h *Home) WriteFile(name string, data []byte) (string, error) {
	path := h.Path(name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return "", err
	}
	return path, h.Own(path)
}

// Own hands a file inside the folder to the folder's user.
func (h *Home) Own(path string) error {
	if h.user == nil {
		return nil
	}
	return os.Chown(path, h.user.UID, h.user.GID)
}

// Close ends every process that still runs, by its death signal, and removes
// the folder. It is idempotent.
func (h *Home) Close() error {
	h.mu.Lock()
	first, children := !h.closed, h.children
	h.closed, h.children = true, nil
	h.mu.Unlock()
	if !first {
		return nil
	}
	for _, p := range children {
		p.end()
	}
	err := h.leash.Close()
	return errors.Join(err, <-h.reaped)
}

func (h *Home) pids() string { return filepath.Join(h.dir, "pids") }

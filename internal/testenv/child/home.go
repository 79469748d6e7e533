// Package child runs server processes that must not outlive the process that started them.
//
// A test or the demo starts Postgres or Kafka as its child in a [Home], which is a scratch folder with its child processes. Closing the
// home ends the processes and removes the folder. If the starter dies without closing the home (a panic, a time-out of `go test`, kill -9),
// there are two safeguards. On Linux, the kernel sends each child its death signal. On every system, a watcher process sees the end of its
// standard input, ends the children and removes the folder.
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

// Home is a scratch folder with its server processes. Its methods may be called from any goroutine.
type Home struct {
	dir          string
	user         *User
	watcherInput io.Closer // the watcher's standard input: when it is closed, the watcher cleans up
	watcherEnded chan error

	mu       sync.Mutex
	closed   bool
	children []*Process
}

// watcher waits for the end of its input, ends the processes in pids/ and removes the folder. pids/ has one file for each process: its name
// is the pid, its content the signal that ends the process. The watcher tries to remove the folder for ten seconds, because a server still
// writes files while it ends.
const watcher = `
read -r _ || :
for f in "$1"/pids/*; do
	[ -e "$f" ] && kill -"$(cat "$f")" "${f##*/}" 2>/dev/null
done
n=0
until rm -rf -- "$1" 2>/dev/null || [ $n -ge 100 ]; do n=$((n + 1)); sleep 0.1; done
`

// NewHome creates a scratch folder whose name starts with prefix. If user is not nil, the folder belongs to that user and is in a folder
// that the user can enter.
func NewHome(prefix string, user *User) (*Home, error) {
	parent := os.TempDir()
	if !user.CanEnter(parent) {
		parent = "/tmp" // TMPDIR may be a folder that only root can enter
	}
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, err
	}
	h := &Home{dir: dir, user: user, watcherEnded: make(chan error, 1)}
	if err := h.prepare(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return h, nil
}

// prepare gives the folder to its user and starts the watcher.
func (h *Home) prepare() error {
	if err := os.Mkdir(h.pids(), 0o700); err != nil {
		return err
	}
	if h.user != nil {
		if err := os.Chown(h.dir, h.user.UID, h.user.GID); err != nil {
			return fmt.Errorf("give %s to user %s: %w", h.dir, h.user.Name, err)
		}
	}
	cmd := exec.Command("/bin/sh", "-c", watcher, "sh", h.dir)
	cmd.Dir = "/"
	// A separate process group, so that Ctrl-C in the terminal does not end the watcher, which has to run until the end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	watcherInput, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the watcher of %s: %w", h.dir, err)
	}
	h.watcherInput = watcherInput
	go func() { h.watcherEnded <- cmd.Wait() }()
	return nil
}

// Dir returns the folder's path. The folder no longer exists after Close.
func (h *Home) Dir() string { return h.dir }

// User returns the user that the folder belongs to; nil means the user of this process.
func (h *Home) User() *User { return h.user }

// Path returns the path of a name inside the folder.
func (h *Home) Path(name ...string) string {
	return filepath.Join(append([]string{h.dir}, name...)...)
}

// WriteFile writes a file inside the folder that only the folder's user may read, and returns its path.
func (h *Home) WriteFile(name string, data []byte) (string, error) {
	path := h.Path(name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return "", err
	}
	return path, h.Own(path)
}

// Own gives a file inside the folder to the folder's user.
func (h *Home) Own(path string) error {
	if h.user == nil {
		return nil
	}
	return os.Chown(path, h.user.UID, h.user.GID)
}

// Close ends every process that still runs with its death signal, and removes the folder. It is idempotent.
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
	err := h.watcherInput.Close()
	return errors.Join(err, <-h.watcherEnded)
}

func (h *Home) pids() string { return filepath.Join(h.dir, "pids") }

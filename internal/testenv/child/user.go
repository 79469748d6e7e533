package child

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// User is another user to run a process as.
type User struct {
	Name     string
	UID, GID int
}

// Unprivileged returns the user for a server that does not run as root, such as Postgres: nil if we are not root, else the user postgres,
// or else nobody.
func Unprivileged() (*User, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(found.Uid)
		gid, err2 := strconv.Atoi(found.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("look up user %s: %w", name, err)
		}
		return &User{Name: name, UID: uid, GID: gid}, nil
	}
	return nil, errors.New("look up a user other than root: neither postgres nor nobody exists")
}

// credential returns nil for a nil user: the process then runs as our own user.
func (u *User) credential() *syscall.Credential {
	if u == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
}

// CanEnter reports whether the user may enter dir and its parents because everybody may. It is always true for a nil user, which means our
// own user.
func (u *User) CanEnter(dir string) bool { return u == nil || enterable(dir) }

// enterable reports whether everybody may enter dir and its parents.
func enterable(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

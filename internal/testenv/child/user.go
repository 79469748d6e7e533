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

// User is somebody else to run a process as.
type User struct {
	Name     string
	UID, GID int
}

// Unprivileged is whom a server runs as that refuses root, as Postgres does:
// nil when we are not root, else the user postgres, else nobody.
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
	return nil, errors.New("look up a user other than root: there is neither postgres nor nobody")
}

// credential is nil for nil: the starter's own.
func (u *User) credential() *syscall.Credential {
	if u == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
}

// CanEnter reports whether the user may pass through dir and its parents as
// everybody may; a nil user, who is the starter, always may.
func (u *User) CanEnter(dir string) bool { return u == nil || enterable(dir) }

// enterable reports whether everybody may pass through dir and its parents.
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

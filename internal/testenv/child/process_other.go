//go:build !linux

package child

import "syscall"

// attributes runs a child as user, in a process group of its own. There is
// no death signal here: the home's watcher ends it instead.
func attributes(user *User, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: user.credential()}
}

// childrenOf finds none: there is no portable way to list them.
func childrenOf(int) []int { return nil }

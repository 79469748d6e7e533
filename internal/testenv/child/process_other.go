//go:build !linux

package child

import "syscall"

// attributes makes a child run as user and in its own process group. There is no death signal on this system: the home's watcher ends the
// child instead.
func attributes(user *User, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: user.credential()}
}

// childrenOf returns none, because there is no portable way to list them.
func childrenOf(int) []int { return nil }

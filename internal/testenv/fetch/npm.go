package fetch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// NPM downloads one npm package (name@version) and unpacks it into dir. It uses npm pack and not npm install, so no script of the package
// runs and no dependencies are downloaded.
func NPM(ctx context.Context, dir, pkg string) error {
	scratch := filepath.Dir(dir)
	out, err := tool(ctx, scratch, "npm", "pack", "--silent", "--ignore-scripts", pkg)
	if err != nil {
		return err
	}
	names := strings.Fields(out)
	if len(names) == 0 {
		return errors.New("npm pack named no file")
	}
	return Unpack(ctx, filepath.Join(scratch, names[len(names)-1]), dir)
}

// Unpack unpacks a tar archive, compressed or not, into dir. A .txz needs xz on the machine. Unpack does not restore the owners of files,
// as tar would do for root.
func Unpack(ctx context.Context, archive, dir string) error {
	if _, err := tool(ctx, dir, "tar", "-x", "-o", "-f", archive); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(archive), err)
	}
	return nil
}

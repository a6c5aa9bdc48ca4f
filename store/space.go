package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// spaceMin is what has to be free for tables to be opened: LevelDB writes as it opens, and one that is opened where
// nothing fits only fails again. It is more than what all buffers of a usual process hold.
const spaceMin = 8 << 20

// RequireSpace fails, with a syscall.ENOSPC that names the folder and what is free, where there is no room for state.
// The folder may not exist yet.
func RequireSpace(dir string) error {
	free, err := freeBytes(dir)
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if free < spaceMin {
		return fmt.Errorf("folder %s: %w: %d bytes are free, %d are needed to go on", dir, syscall.ENOSPC, free, spaceMin)
	}
	return nil
}

// freeBytes is what this user may still write to the file system of the folder, or of the nearest one above that exists.
func freeBytes(dir string) (uint64, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0, err
	}
	for {
		var st syscall.Statfs_t
		err := syscall.Statfs(dir, &st)
		if err == nil {
			return st.Bavail * uint64(st.Bsize), nil
		}
		if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
			dir = parent
			continue
		}
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
}

// noteSpace adds to an error of a full file system how full it is.
func noteSpace(dir string, err error) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	free, statErr := freeBytes(dir)
	if statErr != nil {
		return err
	}
	return fmt.Errorf("%w (%d bytes are free)", err, free)
}

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The space is that of the nearest folder that exists: state.dir may be still to be made. An error of a full disk says
// how full it is, any other stays as it is.
func TestSpace(t *testing.T) {
	dir := t.TempDir()
	if err := RequireSpace(filepath.Join(dir, "state", "group")); err != nil {
		t.Fatal(err)
	}
	full := &os.PathError{Op: "write", Path: dir, Err: syscall.ENOSPC}
	err := noteSpace(dir, full)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "bytes are free") {
		t.Errorf("a full disk: %v", err)
	}
	other := fmt.Errorf("write: %w", syscall.EIO)
	if err := noteSpace(dir, other); err != other {
		t.Errorf("another error: %v", err)
	}
}

package feed

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// HeaderFeed is on each record of a feed: IDENTITY/NUMBER, see Identity and Row.
const HeaderFeed = "gantry-feed"

// Identity names a feed and how its times were moved. Its text is ID-SHIFT.
type Identity struct {
	ID    string // of the file or the simulation; no slash, no hyphen
	Shift int64  // milliseconds
}

func (f Identity) String() string { return f.ID + "-" + strconv.FormatInt(f.Shift, 10) }

func (f Identity) header(number int64) []byte {
	return strconv.AppendInt([]byte(f.String()+"/"), number, 10)
}

// parseHeader reads the value of HeaderFeed.
func parseHeader(value string) (f Identity, number int64, ok bool) {
	identity, n, _ := strings.Cut(value, "/")
	id, shift, _ := strings.Cut(identity, "-")
	var err1, err2 error
	f.ID = id
	f.Shift, err1 = strconv.ParseInt(shift, 10, 64)
	number, err2 = strconv.ParseInt(n, 10, 64)
	return f, number, err1 == nil && err2 == nil && number >= 0 && id != ""
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileIDBytes is how much of a file's beginning goes into its id.
const fileIDBytes = 64 << 10

// FileID tells files apart: a checksum of name, size, format and beginning, in hex.
func FileID(path string, format Format) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	head := make([]byte, fileIDBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	name := fmt.Sprintf("%s\x00%d\x00%s\x00", filepath.Base(path), st.Size(), format)
	return fmt.Sprintf("%08x", crc32.Update(crc32.Checksum([]byte(name), castagnoli), castagnoli, head[:n])), nil
}

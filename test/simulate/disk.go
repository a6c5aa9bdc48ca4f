package simulate

import (
	"errors"
	"fmt"
	"io"

	"github.com/syndtr/goleveldb/leveldb"
	lerrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/opt"
	lstorage "github.com/syndtr/goleveldb/leveldb/storage"
)

// disk holds the state folder of one partition of a group on one machine. It outlives the processes that use it.
type disk struct {
	files lstorage.Storage
	db    *leveldb.DB // while a process has it open
	past  []lstorage.Storage
}

func newDisk() *disk { return &disk{files: lstorage.NewMemStorage()} }

// pastMax is how many older copies of a disk are kept.
const pastMax = 3

// open opens the database. A disk that LevelDB finds damaged is emptied, as the product does, and the damage reported.
func (d *disk) open() (*leveldb.DB, error) {
	db, err := leveldb.Open(d.files, &opt.Options{
		WriteBuffer: 16 << 10, Compression: opt.NoCompression, BlockCacher: opt.NoCacher,
		DisableBufferPool: true, DisableSeeksCompaction: true,
	})
	if lerrors.IsCorrupted(err) {
		d.files = lstorage.NewMemStorage()
	}
	d.db = db
	return db, err
}

// release is the end of the process that had the disk open, clean or not. The copy that it keeps is the disk as it is
// now, which somebody may put back later.
func (d *disk) release() error {
	if d.db == nil {
		return nil
	}
	if err := d.db.Close(); err != nil && !errors.Is(err, leveldb.ErrClosed) {
		return fmt.Errorf("close LevelDB: %w", err)
	}
	d.db = nil
	now, err := copyFiles(d.files, nil)
	if err != nil {
		return err
	}
	if d.past = append(d.past, now); len(d.past) > pastMax {
		d.past = d.past[1:]
	}
	return nil
}

// tear is a power cut: LevelDB's journal is not synced, so its end is lost from some byte on.
func (d *disk) tear(at func(size int) int) (err error) {
	d.files, err = copyFiles(d.files, at)
	return err
}

// putBack replaces the disk by an older copy of itself.
func (d *disk) putBack(past lstorage.Storage) (err error) {
	d.files, err = copyFiles(past, nil)
	return err
}

// copyFiles copies a database that nobody has open. tear, where it is given, is asked for how much of each journal
// stays.
func copyFiles(from lstorage.Storage, tear func(size int) int) (lstorage.Storage, error) {
	to := lstorage.NewMemStorage()
	files, err := from.List(lstorage.TypeAll)
	if err != nil {
		return nil, err
	}
	for _, fd := range files {
		in, err := from.Open(fd)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(in)
		if err := errors.Join(err, in.Close()); err != nil {
			return nil, err
		}
		if fd.Type == lstorage.TypeJournal && tear != nil && len(data) > 0 {
			data = data[:tear(len(data))]
		}
		out, err := to.Create(fd)
		if err != nil {
			return nil, err
		}
		_, err = out.Write(data)
		if err := errors.Join(err, out.Close()); err != nil {
			return nil, err
		}
	}
	if meta, err := from.GetMeta(); err == nil {
		return to, to.SetMeta(meta)
	}
	return to, nil
}

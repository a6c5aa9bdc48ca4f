package config

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// certificate is a key pair that is read again when its files have changed, so that a renewed certificate needs no
// restart. While the new files do not fit, as between the writing of one and the other, the old pair goes on.
type certificate struct {
	cert, key string // files

	mu     sync.Mutex
	pair   *tls.Certificate
	loaded [2]time.Time // modification times of the files that pair was read from
}

// current returns the pair of the files as they are, or the last that was good. It fails only while there is none.
func (c *certificate) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := [2]time.Time{modified(c.cert), modified(c.key)}
	if c.pair != nil && changed == c.loaded {
		return c.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err == nil {
		c.pair, c.loaded = &pair, changed
	} else if c.pair == nil {
		return nil, err
	}
	return c.pair, nil
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

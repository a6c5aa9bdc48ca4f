package app

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"

	"gantry/codecs/registry"
)

// Embedded are a Kafka and a schema registry in this process, which keep their data in a folder. They are for a laptop
// and for tests; the pipeline does not know that it talks to them.
type Embedded struct {
	Kafka    *kfake.Cluster
	Registry *registry.Embedded
	lock     *os.File
}

// EmbeddedOptions say where the servers listen and what they keep.
type EmbeddedOptions struct {
	Dir          string // data folder; it may be used by one process at a time
	KafkaAddr    string // "127.0.0.1:0" takes any port
	RegistryAddr string
}

// KafkaDir is where a data folder holds the topics. Without it, the folder is none.
const KafkaDir = "kafka"

// ErrInUse: another process uses the data folder.
var ErrInUse = errors.New("another gantry uses this data folder; stop it first")

// StartEmbedded starts both servers.
func StartEmbedded(o EmbeddedOptions) (_ *Embedded, err error) {
	e := new(Embedded)
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if e.lock, err = lockFile(filepath.Join(o.Dir, "lock")); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Dir, err)
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DataDir(filepath.Join(o.Dir, KafkaDir)),
		kfake.ClusterID("gantry-embedded"),
	}
	host, port, err := net.SplitHostPort(o.KafkaAddr)
	if err != nil {
		return nil, fmt.Errorf("address of the embedded Kafka: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("the embedded Kafka listens on this machine alone, and %s is another", o.KafkaAddr)
	}
	if port != "0" {
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, fmt.Errorf("address of the embedded Kafka: %w", err)
		}
		opts = append(opts, kfake.Ports(n))
	}
	if e.Kafka, err = kfake.NewCluster(opts...); err != nil {
		return nil, fmt.Errorf("embedded Kafka on %s: %w", o.KafkaAddr, err)
	}
	if e.Registry, err = registry.StartEmbedded(o.RegistryAddr, filepath.Join(o.Dir, "registry")); err != nil {
		return nil, fmt.Errorf("embedded registry on %s: %w", o.RegistryAddr, err)
	}
	return e, nil
}

// Close stops both servers, with their data on disk.
func (e *Embedded) Close() {
	if e.Registry != nil {
		_ = e.Registry.Close()
	}
	if e.Kafka != nil {
		e.Kafka.Close()
	}
	if e.lock != nil {
		_ = e.lock.Close() // the lock goes with it
	}
}

// lockFile takes a lock that ends with the process, however it ends.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, ErrInUse
	}
	return f, nil
}

// hostPort returns the address of a URL of this machine.
func hostPort(rawURL string) (addr string, ok bool) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Port() == "" {
		return "", false
	}
	ip := net.ParseIP(u.Hostname())
	if ip == nil || !ip.IsLoopback() {
		return "", false
	}
	return u.Host, true
}

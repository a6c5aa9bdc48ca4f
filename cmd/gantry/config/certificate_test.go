package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A certificate that is renewed is served without a restart; while its key is not there yet, the old pair is.
func TestServerCertificateFollowsItsFiles(t *testing.T) {
	dir := t.TempDir()
	files := ServerTLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	if _, err := files.Config(); err == nil {
		t.Error("without files there is a configuration")
	}
	clock := time.Now()
	write := func(path string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(time.Second) // a file system's clock may be coarse
		if err := os.Chtimes(path, clock, clock); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := selfSigned(t, 1)
	write(files.Cert, cert)
	write(files.Key, key)
	c, err := files.Config()
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		pair, err := c.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	cert, key = selfSigned(t, 2)
	if got := serial(); got != 1 {
		t.Errorf("serial %d", got)
	}
	write(files.Cert, cert)
	if got := serial(); got != 1 {
		t.Errorf("with half of the new pair: serial %d", got)
	}
	write(files.Key, key)
	if got := serial(); got != 2 {
		t.Errorf("with the new pair: serial %d", got)
	}
}

func selfSigned(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

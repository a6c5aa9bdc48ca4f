package processors

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// tlsBroker accepts connections with a certificate that has expired or stands for another host, and returns what trusts
// it.
func tlsBroker(t *testing.T, host string, expires time.Time) (address string, trust *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: expires.Add(-48 * time.Hour), NotAfter: expires, DNSNames: []string{host},
		IsCA: true, BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn) // the client ends the handshake
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	trust = x509.NewCertPool()
	trust.AddCert(leaf)
	return l.Addr().String(), trust
}

// A certificate that does not fit ends the wait at once, with the key to look at.
func TestMisconfiguredCertificates(t *testing.T) {
	tomorrow := time.Now().Add(24 * time.Hour)
	for _, c := range []struct {
		name, host string
		expires    time.Time
		trusted    bool
		want       string
	}{
		{"expired", "127.0.0.1", time.Now().Add(-time.Hour), true, "has expired"},
		{"other host", "kafka.example.org", tomorrow, true, "advertised.listeners"},
		{"unknown authority", "127.0.0.1", tomorrow, false, "kafka.tls.ca"},
	} {
		address, trust := tlsBroker(t, c.host, c.expires)
		if !c.trusted {
			trust = x509.NewCertPool()
		}
		k := Kafka{Brokers: []string{address}, TLS: &tls.Config{RootCAs: trust}}
		err := k.Reachable(t.Context())
		if !errors.Is(err, ErrMisconfigured) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
	}
}

// What is missing is named whole, with a command to begin with, and is told apart by kind.
func TestDenied(t *testing.T) {
	k := Kafka{SASL: SASL{User: "gantry"}}
	err := k.denied([]Access{
		{kmsg.ACLResourceTypeTopic, "traffic-raw", []kmsg.ACLOperation{kmsg.ACLOperationRead}},
		{kmsg.ACLResourceTypeGroup, string(DedupGroup), []kmsg.ACLOperation{kmsg.ACLOperationRead}},
	})
	for _, part := range []string{
		`user "gantry" may not READ topic traffic-raw, READ group ` + string(DedupGroup),
		"kafka-acls --add --allow-principal 'User:gantry' --operation READ --topic 'traffic-raw'",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	if kind := ErrorTypeOf(err); kind != ErrorAuthorization {
		t.Errorf("its type is %s", kind)
	}
}

package processors

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// ErrMisconfigured: brokers answer, and not to this configuration. Waiting does not mend it.
var ErrMisconfigured = errors.New("kafka cannot be used with this configuration")

// misconfigured says which keys to look at when brokers cannot be used with this configuration, whether they are away or
// not; nothing where an error is of another kind.
func misconfigured(err error) string {
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	var certificate x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var network *net.OpError
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return "see kafka.sasl.user, kafka.sasl.password and kafka.sasl.mechanism"
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return "see kafka.sasl.mechanism, and sasl.enabled.mechanisms of the brokers"
	case errors.As(err, &authority):
		return "kafka.tls.ca must name the authority that signed the brokers' certificates"
	case errors.As(err, &host):
		return "use a name in kafka.brokers, and in advertised.listeners of the brokers, for which their certificates stand"
	case errors.As(err, &certificate) && certificate.Reason == x509.Expired:
		return "the broker's certificate has expired, or the clock of this machine is wrong"
	case errors.As(err, &certificate):
		return "the broker needs another certificate"
	case errors.As(err, &record):
		return "no TLS is spoken at this port: see kafka.tls.enabled and kafka.brokers"
	case errors.As(err, &network) && network.Op == "remote error": // an alert
		return "the broker ends the TLS handshake: it may want a certificate, see kafka.tls.cert and kafka.tls.key"
	case strings.Contains(err.Error(), "plaintext connection speaking to a tls endpoint"): // kgo has no type for it
		return "TLS is spoken at this port: see kafka.tls.enabled and kafka.brokers"
	}
	return ""
}

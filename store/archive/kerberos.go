package archive

import (
	"errors"
	"fmt"
	"strings"

	"github.com/colinmarc/hdfs/v2"
	krb5 "github.com/jcmturner/gokrb5/v8/client"
	krb5config "github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"
)

// ProtectionNone, as Kerberos.Protection, talks to datanodes without SASL: where they listen on privileged ports and
// dfs.data.transfer.protection is not set.
const ProtectionNone = "none"

// Kerberos is how to prove to HDFS who one is. Without a principal, HDFS is told a name and believes it.
type Kerberos struct {
	Principal string // user@REALM, or user in the default realm
	Keytab    string // file with its keys
	Config    string // krb5.conf
	// Namenode is dfs.namenode.kerberos.principal, without the realm; _HOST stands for the host in the URL.
	Namenode string
	// Protection is the least that is asked for on the way to datanodes, as in dfs.data.transfer.protection:
	// authentication or privacy; or ProtectionNone. A datanode may ask for more. There is no integrity: what the client
	// library reads through it is wrong wherever a message ends inside a read, and so it is with the ciphers of privacy
	// but AES.
	Protection string
}

// DefaultKerberos are the places and names that Hadoop's documentation uses; no principal, so no Kerberos.
func DefaultKerberos() Kerberos {
	return Kerberos{
		Config: "/etc/krb5.conf", Namenode: "nn/_HOST", Protection: hdfs.DataTransferProtectionAuthentication,
	}
}

// Validate reports every option that cannot work.
func (k Kerberos) Validate() error {
	if k.Principal == "" {
		return nil
	}
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(k.Keytab != "", "a Kerberos principal needs a keytab")
	need(k.Config != "", "a Kerberos principal needs a krb5.conf")
	need(strings.Contains(k.Namenode, "/"), "the namenode's principal is %q: want service/host, such as nn/_HOST", k.Namenode)
	switch k.Protection {
	case ProtectionNone, hdfs.DataTransferProtectionAuthentication, hdfs.DataTransferProtectionPrivacy:
	default:
		need(false, "protection %q: want none, authentication or privacy", k.Protection)
	}
	return errors.Join(errs...)
}

// Login are the keys of a principal, and what HDFS is to be asked for with them.
type Login struct {
	client     *krb5.Client
	service    string // the namenode's principal
	protection string // "": no SASL to datanodes
}

// Login reads the files, nil without a principal. It asks nobody yet: the KDC is asked with the first call to HDFS, and
// again when a ticket ends, so that a KDC which is away is an error of that call. What is made with it owns it.
func (k Kerberos) Login() (*Login, error) {
	if k.Principal == "" {
		return nil, nil
	}
	if err := k.Validate(); err != nil {
		return nil, err
	}
	conf, err := krb5config.Load(k.Config)
	if unsupported := new(krb5config.UnsupportedDirective); err != nil && !errors.As(err, unsupported) {
		return nil, fmt.Errorf("kerberos configuration %s: %w", k.Config, err)
	}
	keys, err := keytab.Load(k.Keytab)
	if err != nil {
		return nil, fmt.Errorf("keytab %s: %w", k.Keytab, err)
	}
	user, realm, ok := strings.Cut(k.Principal, "@")
	if !ok {
		realm = conf.LibDefaults.DefaultRealm
	}
	if realm == "" {
		return nil, fmt.Errorf("principal %q names no realm, and %s has no default_realm", k.Principal, k.Config)
	}
	// FAST is an extension that Active Directory does not have.
	l := &Login{client: krb5.NewWithKeytab(user, realm, keys, conf, krb5.DisablePAFXFAST(true))}
	l.service, _, _ = strings.Cut(k.Namenode, "@")
	if k.Protection != ProtectionNone {
		l.protection = k.Protection
	}
	return l, nil
}

// apply sets what the HDFS client needs; nothing without a Login.
func (l *Login) apply(o *hdfs.ClientOptions) {
	if l != nil {
		o.KerberosClient, o.KerberosServicePrincipleName, o.DataTransferProtection = l.client, l.service, l.protection
	}
}

// close forgets the keys and ends the renewal of tickets.
func (l *Login) close() {
	if l != nil {
		l.client.Destroy()
	}
}

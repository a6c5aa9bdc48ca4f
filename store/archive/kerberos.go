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
	// authentication, integrity (signed) or privacy (encrypted); or ProtectionNone. A datanode may ask for more.
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
	case ProtectionNone, hdfs.DataTransferProtectionAuthentication, hdfs.DataTransferProtectionIntegrity,
		hdfs.DataTransferProtectionPrivacy:
	default:
		need(false, "protection %q: want none, authentication, integrity or privacy", k.Protection)
	}
	return errors.Join(errs...)
}

// login returns a client that has the keys and nothing else yet: it asks the KDC with the first call to HDFS, and again
// when its ticket ends, so that a KDC which is away is an error of that call. The caller calls Destroy.
func (k Kerberos) login() (*krb5.Client, error) {
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
	return krb5.NewWithKeytab(user, realm, keys, conf, krb5.DisablePAFXFAST(true)), nil
}

// apply sets what the HDFS client needs; the client of Kerberos is nil where there is none.
func (k Kerberos) apply(o *hdfs.ClientOptions) (*krb5.Client, error) {
	if k.Principal == "" {
		return nil, nil
	}
	login, err := k.login()
	if err != nil {
		return nil, err
	}
	service, _, _ := strings.Cut(k.Namenode, "@")
	o.KerberosClient, o.KerberosServicePrincipleName = login, service
	if k.Protection != ProtectionNone {
		o.DataTransferProtection = k.Protection
	}
	return login, nil
}

package archive

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every option that cannot work is named; without a principal nothing is asked of the others.
func TestKerberosValidate(t *testing.T) {
	if err := (Kerberos{}).Validate(); err != nil {
		t.Error(err)
	}
	k := DefaultKerberos()
	k.Principal, k.Keytab = "gantry@EXAMPLE.ORG", "gantry.keytab"
	if err := k.Validate(); err != nil {
		t.Error(err)
	}
	err := Kerberos{Principal: "gantry", Protection: "some", Namenode: "nn"}.Validate()
	for _, part := range []string{"keytab", "krb5.conf", `"nn"`, `"some"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not name %s", err, part)
		}
	}
}

// What cannot be read is named with its file, before HDFS is asked.
func TestKerberosFiles(t *testing.T) {
	dir := t.TempDir()
	k := DefaultKerberos()
	k.Principal, k.Keytab, k.Config = "gantry", filepath.Join(dir, "keytab"), filepath.Join(dir, "krb5.conf")
	if _, err := OpenAs("hdfs://localhost:1/x", k); err == nil || !strings.Contains(err.Error(), k.Config) {
		t.Errorf("without a configuration: %v", err)
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(k.Config, "[libdefaults]\n dns_lookup_kdc = false\n")
	if _, err := OpenAs("hdfs://localhost:1/x", k); err == nil || !strings.Contains(err.Error(), k.Keytab) {
		t.Errorf("without a keytab: %v", err)
	}
	write(k.Keytab, "\x05\x02\x00\x00\x00\x00")
	if _, err := OpenAs("hdfs://localhost:1/x", k); err == nil || !strings.Contains(err.Error(), "default_realm") {
		t.Errorf("without a realm: %v", err)
	}
}

package real

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gantry/cmd/gantry/config"
	"gantry/processors"
	"gantry/store/archive"
	"gantry/store/archive/fstest"
	"gantry/test/harness"
)

// The suites of this file run on the secured servers of test/servers/secure.sh, which make test-secure starts.

const (
	secureUser   = "gantry"
	userSecret   = "gantry-secret"
	adminUser    = "admin"
	adminSecret  = "admin-secret"
	certificate  = "client" // common name of the client's certificate
	loginKeytab  = "gantry.keytab"
	strangersTab = "stranger.keytab"
)

// secured returns a setting of the secured servers, or skips the test.
func secured(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv("GANTRY_SECURE_" + name)
	if value == "" {
		t.Skipf("GANTRY_SECURE_%s is not set: this needs secured servers (make test-secure)", name)
	}
	return value
}

func secureFile(t *testing.T, name string) string { return filepath.Join(secured(t, "DIR"), name) }

// secureEnv is the environment of a gantry that logs in as its user.
func secureEnv(t *testing.T, mechanism string) []string {
	return []string{
		"GANTRY_KAFKA_BROKERS=" + secured(t, "BROKERS"),
		"GANTRY_KAFKA_TLS_ENABLED=true", "GANTRY_KAFKA_TLS_CA=" + secureFile(t, "ca.pem"),
		"GANTRY_KAFKA_SASL_MECHANISM=" + mechanism,
		"GANTRY_KAFKA_SASL_USER=" + secureUser, "GANTRY_KAFKA_SASL_PASSWORD=" + userSecret,
		"GANTRY_REGISTRY_URL=" + secured(t, "REGISTRY"),
		"GANTRY_REGISTRY_USER=" + secureUser, "GANTRY_REGISTRY_PASSWORD=" + userSecret,
		"GANTRY_WINDOW_IDLE_TIMEOUT=1s",
	}
}

// certificateEnv is the environment of a gantry that is known by its certificate.
func certificateEnv(t *testing.T) []string {
	return append(slices.DeleteFunc(secureEnv(t, ""), func(v string) bool {
		return strings.HasPrefix(v, "GANTRY_KAFKA_SASL")
	}), "GANTRY_KAFKA_BROKERS="+secured(t, "BROKERS_TLS"),
		"GANTRY_KAFKA_TLS_CERT="+secureFile(t, "client.pem"), "GANTRY_KAFKA_TLS_KEY="+secureFile(t, "client.key"))
}

// secureAdmin may do everything.
func secureAdmin(t *testing.T) *kadm.Client {
	t.Helper()
	tls, err := config.TLS{Enabled: true, CA: secureFile(t, "ca.pem")}.Config()
	if err != nil {
		t.Fatal(err)
	}
	k := processors.Kafka{Brokers: []string{secured(t, "BROKERS")}, TLS: tls, SASL: processors.SASL{
		Mechanism: "PLAIN", User: adminUser, Password: adminSecret,
	}}
	client, err := kgo.NewClient(k.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// freshSecureCluster has Gantry's topics, and nobody but the administrator may do anything.
func freshSecureCluster(t *testing.T, adm *kadm.Client) {
	t.Helper()
	everything := kadm.NewACLs().AnyResource().Allow().AllowHosts().Deny().DenyHosts().Operations().
		ResourcePatternType(kadm.ACLPatternAny)
	if _, err := adm.DeleteACLs(t.Context(), everything); err != nil {
		t.Fatal(err)
	}
	wipe(t, adm)
	if _, err := processors.EnsureTopics(t.Context(), adm, processors.DefaultTopics().Specs(false)); err != nil {
		t.Fatal(err)
	}
}

// leastAccess is what the README tells an administrator to grant for a pipeline, its feed and its proof.
func leastAccess() []processors.Access {
	topics := processors.DefaultTopics()
	needs := topics.Access(processors.Uses{Dedup: true, Window: true, Archive: true, Serve: true})
	topic := func(name string, op kmsg.ACLOperation) processors.Access {
		return processors.Access{Resource: kmsg.ACLResourceTypeTopic, Name: name, Operations: []kmsg.ACLOperation{op}}
	}
	return append(needs, topic(string(topics.Raw), kmsg.ACLOperationWrite), topic(string(topics.Rejects), kmsg.ACLOperationRead))
}

func acls(user string, a processors.Access, op kmsg.ACLOperation) *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow("User:" + user).AllowHosts("*").Operations(op).ResourcePatternType(kadm.ACLPatternLiteral)
	if a.Resource == kmsg.ACLResourceTypeTopic {
		return b.Topics(a.Name)
	}
	return b.Groups(a.Name)
}

func grant(t *testing.T, adm *kadm.Client, user string, needs ...processors.Access) {
	t.Helper()
	for _, a := range needs {
		for _, op := range a.Operations {
			results, err := adm.CreateACLs(t.Context(), acls(user, a, op))
			if err == nil && len(results) > 0 {
				err = results[0].Err
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func revoke(t *testing.T, adm *kadm.Client, user string, a processors.Access, op kmsg.ACLOperation) {
	t.Helper()
	if _, err := adm.DeleteACLs(t.Context(), acls(user, a, op)); err != nil {
		t.Fatal(err)
	}
}

func launchSecure(t *testing.T, env []string, more ...string) *harness.Process {
	return harness.Launch(t, "secure-0", env, append([]string{
		"run", "--instance", "secure-0", "--state.dir", t.TempDir(), "--http.listen", "127.0.0.1:0",
		"--archive.flushInterval", "1s",
	}, more...)...)
}

// simulateSecure feeds for a few seconds and returns how many readings must be accepted.
func simulateSecure(t *testing.T, env []string) (accepted int64) {
	t.Helper()
	code, stdout, stderr := harness.Run(t, t.TempDir(), env, "simulate", "--sensors", "20", "--rate", "200", "--for", "3s")
	if code != 0 {
		t.Fatalf("simulate: %d %s", code, stderr)
	}
	var truth struct{ Accepted int64 }
	if err := json.Unmarshal([]byte(stdout), &truth); err != nil || truth.Accepted == 0 {
		t.Fatalf("simulate printed %s: %v", stdout, err)
	}
	return truth.Accepted
}

// proven waits until verify finds that many readings accepted, nothing pending and no exception.
func proven(t *testing.T, env []string, accepted int64, args ...string) {
	t.Helper()
	var last string
	harness.Await(t, "a clean ledger", func() bool {
		code, stdout, stderr := harness.Run(t, t.TempDir(), env, append([]string{"verify", "--json"}, args...)...)
		last = stdout + stderr
		var report struct {
			Totals struct{ Accepted, Pending int64 }
		}
		if code == 2 || strings.Contains(last, userSecret) {
			t.Fatal(last)
		}
		return code == 0 && json.Unmarshal([]byte(stdout), &report) == nil && report.Totals.Accepted == accepted &&
			report.Totals.Pending == 0
	})
}

// Every client of the pipeline, its feed and its proof get through TLS and SASL, with no more rights than the README
// lists, and say nothing of a password.
func TestSecuredPipeline(t *testing.T) {
	adm := secureAdmin(t)
	for _, c := range []struct {
		name, user string
		env        []string
	}{
		{"SCRAM-SHA-512", secureUser, secureEnv(t, "SCRAM-SHA-512")},
		{"SCRAM-SHA-256", secureUser, secureEnv(t, "SCRAM-SHA-256")},
		{"PLAIN", secureUser, secureEnv(t, "PLAIN")},
		{"certificate", "CN=" + certificate, certificateEnv(t)},
	} {
		t.Run(c.name, func(t *testing.T) {
			freshSecureCluster(t, adm)
			grant(t, adm, c.user, leastAccess()...)
			archiveURL := "file://" + t.TempDir() + "/archive"
			pipeline := launchSecure(t, c.env, "--archive.url", archiveURL)
			accepted := simulateSecure(t, c.env)
			proven(t, c.env, accepted)
			pipeline.Stop(t)
			proven(t, append(c.env, "GANTRY_ARCHIVE_URL="+archiveURL), accepted, "--archive")
			if strings.Contains(pipeline.Log.String(), userSecret) {
				t.Error("the password stands in the log")
			}
		})
	}
}

// Whatever is missing is named, with its operation, and the pipeline goes on by itself when it is granted: at the start,
// and when it is revoked while readings flow.
func TestSecuredAccess(t *testing.T) {
	adm := secureAdmin(t)
	env := secureEnv(t, "SCRAM-SHA-512")
	needs := leastAccess()
	freshSecureCluster(t, adm)
	grant(t, adm, secureUser, needs...)
	pipeline := processors.DefaultTopics().Access(processors.Uses{Dedup: true, Window: true, Archive: true, Serve: true})

	k := secureKafka(t)
	for _, a := range pipeline {
		for _, op := range a.Operations {
			revoke(t, adm, secureUser, a, op)
			want := fmt.Sprintf("%s %s %s", op, strings.ToLower(a.Resource.String()), a.Name)
			harness.Await(t, want+" to be missed", func() bool {
				err := k.CheckAccess(t.Context(), pipeline)
				return err != nil && strings.Contains(err.Error(), want)
			})
			grant(t, adm, secureUser, processors.Access{Resource: a.Resource, Name: a.Name, Operations: []kmsg.ACLOperation{op}})
		}
	}
	harness.Await(t, "nothing to be missed", func() bool { return k.CheckAccess(t.Context(), pipeline) == nil })

	write := processors.Access{
		Resource: kmsg.ACLResourceTypeTopic, Name: harness.EventsTopic, Operations: []kmsg.ACLOperation{kmsg.ACLOperationWrite},
	}
	revoke(t, adm, secureUser, write, kmsg.ACLOperationWrite)
	p := launchSecure(t, env, "--roles", "dedup,window,serve")
	accepted := simulateSecure(t, env)
	grant(t, adm, secureUser, write)
	proven(t, env, accepted)
	revoke(t, adm, secureUser, write, kmsg.ACLOperationWrite)
	accepted += simulateSecure(t, env)
	grant(t, adm, secureUser, write)
	proven(t, env, accepted)
	p.Stop(t)
	if log := p.Log.String(); !strings.Contains(log, "WRITE topic "+harness.EventsTopic) {
		t.Errorf("the log does not say what is missing:\n%s", log)
	}
}

func secureKafka(t *testing.T) processors.Kafka {
	t.Helper()
	tls, err := config.TLS{Enabled: true, CA: secureFile(t, "ca.pem")}.Config()
	if err != nil {
		t.Fatal(err)
	}
	return processors.Kafka{Brokers: []string{secured(t, "BROKERS")}, TLS: tls, SASL: processors.SASL{
		Mechanism: "SCRAM-SHA-512", User: secureUser, Password: userSecret,
	}}
}

// What does not fit is named with the key to look at, at once.
func TestSecuredMisconfigured(t *testing.T) {
	env := secureEnv(t, "SCRAM-SHA-256")
	for _, c := range []struct {
		name string
		env  []string
		want string
	}{
		{"wrong password", []string{"GANTRY_KAFKA_SASL_PASSWORD=no-secret"}, "kafka.sasl.password"},
		{"mechanism of another user", []string{"GANTRY_KAFKA_SASL_USER=nobody"}, "kafka.sasl.user"},
		{"unknown authority", []string{"GANTRY_KAFKA_TLS_CA=" + secureFile(t, "client.pem")}, "kafka.tls.ca"},
		{"no TLS", []string{"GANTRY_KAFKA_TLS_ENABLED=false", "GANTRY_KAFKA_TLS_CA="}, "kafka.tls.enabled"},
		{"no certificate", []string{"GANTRY_KAFKA_BROKERS=" + secured(t, "BROKERS_TLS")}, "kafka.tls.cert"},
		{"no rights", nil, "AUTHORIZATION_FAILED"},
	} {
		if c.name == "no rights" {
			freshSecureCluster(t, secureAdmin(t))
		}
		code, _, stderr := harness.Run(t, t.TempDir(), append(slices.Clone(env), c.env...), "topics", "check")
		if code != 1 || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "-secret") {
			t.Errorf("%s: %d %s, want %s in it", c.name, code, stderr, c.want)
		}
	}
}

// The registry's refusal is told from its absence, and named with its keys.
func TestSecuredRegistry(t *testing.T) {
	env := append(secureEnv(t, "PLAIN"), "GANTRY_KAFKA_SASL_USER="+adminUser, "GANTRY_KAFKA_SASL_PASSWORD="+adminSecret)
	create := func(more ...string) (int, string) {
		code, _, stderr := harness.Run(t, t.TempDir(), append(slices.Clone(env), more...), "topics", "create")
		return code, stderr
	}
	if code, stderr := create(); code != 0 {
		t.Errorf("with the right password: %d %s", code, stderr)
	}
	for _, more := range [][]string{
		{"GANTRY_REGISTRY_PASSWORD=no-secret"}, {"GANTRY_REGISTRY_USER=", "GANTRY_REGISTRY_PASSWORD="},
	} {
		code, stderr := create(more...)
		if code != 1 || !strings.Contains(stderr, "registry.password") || strings.Contains(stderr, "-secret") {
			t.Errorf("%v: %d %s", more, code, stderr)
		}
	}
}

// HDFS with Kerberos keeps the archive's contract, for a principal that was granted the folder and for no other.
func TestSecuredHDFS(t *testing.T) {
	k := archive.DefaultKerberos()
	k.Principal, k.Keytab, k.Config = "gantry@GANTRY.TEST", secureFile(t, loginKeytab), secureFile(t, "krb5.conf")
	root := fmt.Sprintf("%s/_tests/%d", secured(t, "ARCHIVE"), time.Now().UnixNano())
	open := func(t *testing.T, k archive.Kerberos, root string) archive.FS {
		t.Helper()
		fsys, err := archive.OpenAs(root, k)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { fsys.Close() })
		return fsys
	}
	n := 0
	fstest.Contract(t, func(t *testing.T) archive.FS {
		n++
		return open(t, k, fmt.Sprintf("%s/%d", root, n))
	})
	private := k
	private.Protection = "privacy"
	fsys := open(t, private, root)
	if err := fsys.WriteFile("private", make([]byte, 300<<10)); err != nil {
		t.Error(err)
	}
	if data, err := fsys.ReadFile("private"); err != nil || len(data) != 300<<10 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	stranger := k
	stranger.Principal, stranger.Keytab = "stranger@GANTRY.TEST", secureFile(t, strangersTab)
	if err := open(t, stranger, root).WriteFile("theirs", []byte("x")); err == nil {
		t.Error("a stranger may write")
	}
	thief := k
	thief.Keytab = secureFile(t, strangersTab)
	if _, err := open(t, thief, root).ReadFile("private"); err == nil {
		t.Error("without the keys of the principal one may read")
	}
	if _, err := open(t, archive.Kerberos{}, root).ReadFile("private"); err == nil {
		t.Error("without Kerberos one may read")
	}
}

// The whole pipeline on secured servers: what it archives on HDFS is what the topics say.
func TestSecuredArchive(t *testing.T) {
	adm := secureAdmin(t)
	freshSecureCluster(t, adm)
	grant(t, adm, secureUser, leastAccess()...)
	env := append(secureEnv(t, "SCRAM-SHA-512"),
		fmt.Sprintf("GANTRY_ARCHIVE_URL=%s/_tests/%d", secured(t, "ARCHIVE"), time.Now().UnixNano()),
		"GANTRY_ARCHIVE_KERBEROS_PRINCIPAL=gantry@GANTRY.TEST",
		"GANTRY_ARCHIVE_KERBEROS_KEYTAB="+secureFile(t, loginKeytab),
		"GANTRY_ARCHIVE_KERBEROS_CONFIG="+secureFile(t, "krb5.conf"))
	p := launchSecure(t, env)
	accepted := simulateSecure(t, env)
	proven(t, env, accepted)
	p.End(t, syscall.SIGTERM)
	proven(t, env, accepted, "--archive")
}

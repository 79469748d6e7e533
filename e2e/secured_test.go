package e2e

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/certs"
	"walpost/internal/testenv/need"
)

// secured are servers that require TLS, a client certificate and a password, and
// allow only what was granted. All tests of a run share them. Each test has users
// and a database of its own.
type secured struct {
	kafka     *kafkatest.Cluster
	server    *pgtest.Server
	dir       string
	clients   *certs.Authority // that signs all certificates except Postgres's own
	kafkaCA   string
	strangers certs.Files
}

// sessionLifetime is after how many milliseconds Kafka requires another login.
// It is short, so that a test sees the effect of a refused login.
const sessionLifetime = "3000"

var securedServers = sync.OnceValues(func() (*secured, error) {
	s := &secured{dir: filepath.Join(built, "secured")}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if s.strangers, err = certs.Write(s.dir, "stranger"); err != nil {
		return nil, err
	}
	if s.clients, err = certs.NewAuthority("everybody"); err != nil {
		return nil, err
	}
	// The certificate has an address and no name, so localhost is wrong for it.
	broker, err := s.clients.Issue(s.dir, "broker", func(c *x509.Certificate) { c.DNSNames = nil })
	if err != nil {
		return nil, err
	}
	s.kafkaCA = broker.CA
	const listener, modules = "listener.name.client.", "org.apache.kafka.common.security."
	if s.kafka, err = kafkatest.Launch(context.Background(), kafkatest.Options{
		Protocol: "SASL_SSL",
		Properties: map[string]string{
			"ssl.keystore.type": "PEM", "ssl.keystore.location": broker.Bundle,
			"ssl.truststore.type": "PEM", "ssl.truststore.location": broker.CA,
			listener + "ssl.client.auth":                         "required",
			"sasl.enabled.mechanisms":                            "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
			listener + "plain.sasl.jaas.config":                  modules + `plain.PlainLoginModule required user_plainly="hidden-word";`,
			listener + "scram-sha-512.sasl.jaas.config":          modules + "scram.ScramLoginModule required;",
			listener + "oauthbearer.sasl.jaas.config":            modules + `oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
			listener + "scram-sha-512.connections.max.reauth.ms": sessionLifetime,
			"authorizer.class.name":                              "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"super.users":                                        "User:ANONYMOUS", // clients of the plain listener
		},
	}); err != nil {
		return nil, err
	}
	s.server, err = pgtest.Launch(context.Background(), pgtest.Options{
		SSL:      true,
		ClientCA: broker.CA,
		Settings: map[string]string{"password_encryption": "scram-sha-256"},
		HBA:      []string{"hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full"},
	})
	return s, err
})

// login is a Postgres role and a Kafka user for a test on the secured servers.
// Both have the test's name and no rights.
type login struct {
	*secured
	*pipe
	name  string
	files certs.Files // the certificate with the role's name
}

// newLogin creates a login on the secured servers, with a database that has the
// schema and its grants.
func newLogin(t *testing.T, name string) *login {
	t.Helper()
	s, err := securedServers()
	need.Met(t, err)
	if err := s.server.CreateDatabase(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	db := &pgtest.DB{Name: name, DSN: s.server.DSN(name), Major: s.server.Major()}
	l := &login{secured: s, pipe: pipeOn(t, db, s.kafka.Internal()), name: name}
	l.files = l.certificate(t, name)
	l.exec(t, "CREATE ROLE "+name+" LOGIN")
	l.password(t, "hidden-word")
	l.withSchema(t, "--relay-role", name)
	delete(l.env, "WALPOST_POSTGRES_URL") // that of the superuser
	return l
}

// certificate creates a client certificate.
func (l *login) certificate(t testing.TB, name string) certs.Files {
	t.Helper()
	f, err := l.clients.Issue(l.home.Dir(), name, func(c *x509.Certificate) { c.Subject.CommonName = name })
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// password sets the password of the role and of the user.
func (l *login) password(t testing.TB, word string) {
	t.Helper()
	l.exec(t, "ALTER ROLE "+l.name+" PASSWORD '"+word+"'")
	l.kafkaPassword(t, word)
}

func (l *login) kafkaPassword(t testing.TB, word string) {
	t.Helper()
	user := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
	user.Name, user.Mechanism, user.Iterations = l.name, 2, 4096 // SCRAM-SHA-512
	user.Salt = make([]byte, 16)
	_, _ = rand.Read(user.Salt) // never fails, by its documentation
	var err error
	if user.SaltedPassword, err = pbkdf2.Key(sha512.New, word, user.Salt, int(user.Iterations), sha512.Size); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewAlterUserSCRAMCredentialsRequest()
	req.Upsertions = append(req.Upsertions, user)
	res, err := req.RequestWith(t.Context(), l.client(t))
	if err == nil {
		err = kerr.ErrorForCode(res.Results[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("set the password of Kafka's user %s: %v", l.name, err)
	}
}

// grant lets the user produce to a topic.
func (l *login) grant(t testing.TB, topic string) {
	t.Helper()
	l.grantTo(t, l.name, topic)
}

func (l *login) grantTo(t testing.TB, user, topic string) {
	t.Helper()
	req := kmsg.NewCreateACLsRequest()
	for _, op := range []kmsg.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe} {
		acl := kmsg.NewCreateACLsRequestCreation()
		acl.ResourceType, acl.ResourceName, acl.ResourcePatternType = kmsg.ACLResourceTypeTopic, topic, kmsg.ACLResourcePatternTypeLiteral
		acl.Principal, acl.Host, acl.Operation, acl.PermissionType = "User:"+user, "*", op, kmsg.ACLPermissionTypeAllow
		req.Creations = append(req.Creations, acl)
	}
	res, err := req.RequestWith(t.Context(), l.client(t))
	for i := 0; err == nil && i < len(res.Results); i++ {
		err = kerr.ErrorForCode(res.Results[i].ErrorCode)
	}
	if err != nil {
		t.Fatalf("grant topic %s: %v", topic, err)
	}
}

// revoke takes away the user's rights on a topic.
func (l *login) revoke(t testing.TB, topic string) {
	t.Helper()
	filter := kmsg.NewDeleteACLsRequestFilter()
	principal := "User:" + l.name
	filter.ResourceType, filter.ResourceName, filter.ResourcePatternType = kmsg.ACLResourceTypeTopic, &topic, kmsg.ACLResourcePatternTypeLiteral
	filter.Principal, filter.Operation, filter.PermissionType = &principal, kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	req := kmsg.NewDeleteACLsRequest()
	req.Filters = append(req.Filters, filter)
	res, err := req.RequestWith(t.Context(), l.client(t))
	if err == nil {
		err = kerr.ErrorForCode(res.Results[0].ErrorCode)
	}
	if err != nil || len(res.Results[0].MatchingACLs) == 0 {
		t.Fatalf("revoke topic %s: %v, %d found", topic, err, len(res.Results[0].MatchingACLs))
	}
}

// url returns the database's address for the role. credentials is user:password.
func (l *login) url(credentials string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=verify-full&sslrootcert=%s&sslcert=%s&sslkey=%s",
		credentials, l.server.Port(), l.name, l.server.CA(), l.files.Cert, l.files.Key)
}

// environ returns the environment with which walpost can log in.
func (l *login) environ() []string {
	return []string{
		"WALPOST_POSTGRES_URL=" + l.url(l.name+":hidden-word"),
		"WALPOST_KAFKA_BOOTSTRAP_SERVERS=" + l.kafka.Brokers()[0],
		"WALPOST_KAFKA_SECURITY_PROTOCOL=SASL_SSL",
		"WALPOST_KAFKA_SASL_MECHANISM=SCRAM-SHA-512",
		"WALPOST_KAFKA_SASL_USERNAME=" + l.name,
		"WALPOST_KAFKA_SASL_PASSWORD=hidden-word",
		"WALPOST_KAFKA_SSL_CA_LOCATION=" + l.kafkaCA,
		"WALPOST_KAFKA_SSL_CERTIFICATE_LOCATION=" + l.files.Cert,
		"WALPOST_KAFKA_SSL_KEY_LOCATION=" + l.files.Key,
	}
}

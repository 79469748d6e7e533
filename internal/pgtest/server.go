package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/testenv/certs"
	"walpost/internal/testenv/child"
)

// patience is how long one step of a start may take. initdb takes half a second on an idle machine and ten times that on a busy one.
const patience = 60 * time.Second

const (
	dataDir  = "data"
	logFile  = "server.log"
	certFile = "server.crt"
	keyFile  = "server.key"

	clientCAFile = "clients-ca.crt"
)

// Server is a Postgres server for one caller alone. Only one goroutine may use it at a time, except for [Server.DSN] and [Server.Log].
type Server struct {
	home     *child.Home
	binaries binaries
	port     int
	ca       string // path of the authority's certificate; empty without SSL
	process  *child.Process
}

// Launch creates a data folder and starts a server on it. The server accepts connections when Launch returns. Close ends it. The error is a
// [need.Lack] if no server is available on this machine.
func Launch(ctx context.Context, o Options) (*Server, error) {
	user, err := child.Unprivileged()
	if err != nil {
		return nil, err
	}
	found, err := find(ctx, o.Major, user)
	if err != nil {
		return nil, err
	}
	return launch(ctx, found, user, o)
}

func launch(ctx context.Context, found binaries, user *child.User, o Options) (*Server, error) {
	home, err := child.NewHome("walpost-postgres-", user)
	if err != nil {
		return nil, fmt.Errorf("make a folder for Postgres: %w", err)
	}
	s := &Server{home: home, binaries: found}
	if err := s.create(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("create a Postgres %s cluster: %w", s.Version(), err), home.Close())
	}
	if err := s.firstStart(ctx); err != nil {
		return nil, errors.Join(err, home.Close())
	}
	return s, nil
}

// create runs initdb and writes the configuration.
func (s *Server) create(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	data := s.home.Path(dataDir)
	_, err := s.home.Run(ctx, s.binaries.program("initdb"), environment(),
		"-D", data, "-U", superuser, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	if err != nil {
		return err
	}
	if o.SSL {
		if err := s.certify(); err != nil {
			return err
		}
	}
	if o.ClientCA != "" {
		ca, err := os.ReadFile(o.ClientCA)
		if err != nil {
			return err
		}
		if _, err := s.home.WriteFile(dataDir+"/"+clientCAFile, ca); err != nil {
			return err
		}
	}
	// The text of initdb stays at the beginning: it has the settings for the locale.
	conf, err := os.ReadFile(s.home.Path(dataDir, "postgresql.conf"))
	if err != nil {
		return err
	}
	if _, err := s.home.WriteFile(dataDir+"/postgresql.conf", append(conf, "\n"+o.conf()...)); err != nil {
		return err
	}
	_, err = s.home.WriteFile(dataDir+"/pg_hba.conf", []byte(o.hba()))
	return err
}

// certify creates a certificate authority and a certificate for the server.
func (s *Server) certify() error {
	files, err := certs.Write(s.home.Dir(), "postgres")
	if err != nil {
		return err
	}
	s.ca = files.CA
	for from, to := range map[string]string{files.Cert: certFile, files.Key: keyFile} {
		to = s.home.Path(dataDir, to)
		if err := errors.Join(os.Rename(from, to), s.home.Own(to)); err != nil {
			return err
		}
	}
	return nil
}

// firstStart starts the server on a free port. If another process takes that port first, it tries the next one.
func (s *Server) firstStart(ctx context.Context) error {
	var err error
	for range 5 {
		if s.port, err = child.FreePort(); err != nil {
			return err
		}
		if err = s.Start(ctx); err == nil || !strings.Contains(err.Error(), "could not bind") {
			return err
		}
	}
	return err
}

// Start starts the server again, on the same data and port. When Start returns, the server has recovered and accepts connections.
func (s *Server) Start(ctx context.Context) error {
	if s.process != nil && s.process.Running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := s.startOnce(ctx)
		// After a crash, the server's children and their shared memory may stay for a moment.
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "pre-existing shared memory block") {
			return err
		}
	}
}

func (s *Server) startOnce(ctx context.Context) error {
	before := len(s.Log())
	process, err := s.home.Start(child.Spec{
		Path:  s.binaries.program("postgres"),
		Args:  []string{"-D", s.home.Path(dataDir), "-p", strconv.Itoa(s.port)},
		Env:   environment(),
		Log:   s.home.Path(logFile),
		Death: syscall.SIGQUIT,
	})
	if err != nil {
		return err
	}
	s.process = process
	if err := s.awaitConnection(ctx); err != nil {
		log := s.Log()
		return fmt.Errorf("start Postgres %s: %w\n%s", s.Version(), err, log[min(before, len(log)):])
	}
	return nil
}

// awaitConnection waits until the server accepts a connection.
func (s *Server) awaitConnection(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.DSN(maintenance))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.process.Done():
			return fmt.Errorf("it ended: %w", s.process.Err())
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// environment returns the environment for Postgres's programs. It leaves out PG* variables and locales, because they would change what the
// programs do.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
}

// DSN returns the superuser's DSN for a database of this server, with sslmode=verify-full if the server has a certificate.
func (s *Server) DSN(db string) string {
	query := "sslmode=disable"
	if s.ca != "" {
		query = "sslmode=verify-full&sslrootcert=" + url.QueryEscape(s.ca)
	}
	return fmt.Sprintf("postgres://%s@%s/%s?%s", superuser, child.Address(s.port), url.PathEscape(db), query)
}

// Port returns the server's port on 127.0.0.1. It stays the same after a restart.
func (s *Server) Port() int { return s.port }

// CA returns the path of the certificate authority of the server, for clients; "" without SSL.
func (s *Server) CA() string { return s.ca }

// Version returns the server's version, for example "15.20".
func (s *Server) Version() string { return s.binaries.version() }

// Major returns the server's major version.
func (s *Server) Major() int { return s.binaries.major }

// Source returns where the server's binaries came from, for people.
func (s *Server) Source() string { return s.binaries.source }

// Log returns the server's log since its first start, at most the last mebibyte.
func (s *Server) Log() string { return child.Tail(s.home.Path(logFile)) }

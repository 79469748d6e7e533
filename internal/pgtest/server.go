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

// patience is how long one step of a start may take: initdb takes half a
// second on a quiet machine and ten times that on a busy one.
const patience = 60 * time.Second

const (
	dataDir  = "data"
	logFile  = "server.log"
	certFile = "server.crt"
	keyFile  = "server.key"

	clientCAFile = "clients-ca.crt"
)

// Server is a Postgres server of the caller's own. Its methods are for one
// goroutine at a time, [Server.DSN] and [Server.Log] for any.
type Server struct {
	home     *child.Home
	binaries binaries
	port     int
	ca       string // path of the authority's certificate; empty without SSL
	process  *child.Process
}

// Launch makes a fresh data folder and starts a server on it. It is up when
// Launch returns; Close ends it. The error is a [need.Lack] when no server
// can be had on this machine.
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
	// initdb's file stays in front: it holds the locale's settings.
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

// certify makes an authority and a certificate for the server.
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

// firstStart starts the server on a free port, and on another when somebody
// was faster.
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

// Start starts the server again, on the same data and port. It is up, and
// recovered, when Start returns.
func (s *Server) Start(ctx context.Context) error {
	if s.process != nil && s.process.Running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := s.startOnce(ctx)
		// After a crash the server's children may outlive it for a moment,
		// and with them their shared memory.
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
	if err := s.answer(ctx); err != nil {
		log := s.Log()
		return fmt.Errorf("start Postgres %s: %w\n%s", s.Version(), err, log[min(before, len(log)):])
	}
	return nil
}

// answer waits until a session can be had.
func (s *Server) answer(ctx context.Context) error {
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

// environment is what Postgres's programs see of ours: PG* variables and
// locales would change what they do.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
}

// DSN is the superuser's address of a database of this server, with
// verify-full when the server has a certificate.
func (s *Server) DSN(db string) string {
	query := "sslmode=disable"
	if s.ca != "" {
		query = "sslmode=verify-full&sslrootcert=" + url.QueryEscape(s.ca)
	}
	return fmt.Sprintf("postgres://%s@%s/%s?%s", superuser, child.Address(s.port), url.PathEscape(db), query)
}

// Port is the server's port on 127.0.0.1, the same after a restart.
func (s *Server) Port() int { return s.port }

// CA is the path of the certificate of the server's authority, for clients;
// empty without SSL.
func (s *Server) CA() string { return s.ca }

// Version is the server's version, for example "15.20".
func (s *Server) Version() string { return s.binaries.version() }

// Major is the server's major version.
func (s *Server) Major() int { return s.binaries.major }

// Source tells people where the server's binaries came from.
func (s *Server) Source() string { return s.binaries.source }

// Log is what the server has logged since its first start, the last mebibyte
// of it.
func (s *Server) Log() string { return child.Tail(s.home.Path(logFile)) }

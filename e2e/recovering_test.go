package e2e

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// walpost waits for a standby until it is promoted, and creates nothing on it.
func TestStandbyServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	if err := server.CreateDatabase(t.Context(), "standby"); err != nil {
		t.Fatal(err)
	}
	p := pipeOn(t, &pgtest.DB{Name: "standby", DSN: server.DSN("standby"), Major: server.Major()}, kafkatest.Brokers(t)).withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	data := ask[string](t, p.conn, "SHOW data_directory")
	if err := server.Stop(t.Context(), pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.conn = p.connect(t)
	r := p.launch(t)
	r.awaitUnready(t, "the server is a standby: waiting for its promotion; promote it (SELECT pg_promote()), or connect to the primary")
	r.awaitOutput(t, `cure="promote it (SELECT pg_promote()), or connect to the primary`)
	p.untouched(t)
	applied := p.cli(t, nil, "schema", "apply")
	refusal{code: 1, says: []string{"this server is a standby: connect to its primary"}}.check(t, applied.code, applied.stderr)
	tailed := p.cli(t, nil, "tail") // does not wait, because a person is waiting for it
	refusal{code: 1, says: []string{"the server is a standby; connect to its primary"}}.check(t, tailed.code, tailed.stderr)
	created := p.cli(t, nil, "slot", "create")
	refusal{code: 1, says: []string{"the server is a standby; connect to its primary"}}.check(t, created.code, created.stderr)
	if found := p.doctor(t, nil); !strings.Contains(cured(found), "promote it (SELECT pg_promote()), or connect to the primary") {
		t.Errorf("doctor on a standby:\n%s", cured(found))
	}
	p.exec(t, "SELECT pg_promote()")
	r.awaitReady(t, "leader")
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) VALUES ('order', 'k', 'Promoted')")
	p.awaitSize(t, p.client(t), topic, 1)
	r.stop(t)
}

// walpost waits for a server that is starting, and shows the server's own
// message.
func TestStartingServer(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	starting := newStartingServer(t, hostOf(t, p.db.DSN))
	r := p.launch(t, "WALPOST_POSTGRES_URL="+address(t, p.db.DSN, starting.Addr().String()))
	r.awaitUnready(t, "the database system is starting up")
	r.awaitUnready(t, "; see the server's log for its progress")
	r.awaitOutput(t, "57P03", `cure="see the server's log for its progress`)
	p.untouched(t)
	starting.up.Store(true)
	r.awaitReady(t, "leader")
	r.stop(t)
}

// startingServer is a server that refuses every session, as a server in recovery
// does. Once it is up, it passes sessions on to the real server.
type startingServer struct {
	net.Listener
	up atomic.Bool
}

func newStartingServer(t *testing.T, real string) *startingServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &startingServer{Listener: listener}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn, real)
		}
	}()
	return s
}

func (s *startingServer) serve(conn net.Conn, real string) {
	defer conn.Close()
	if s.up.Load() {
		server, err := net.Dial("tcp", real)
		if err != nil {
			return
		}
		defer server.Close()
		go func() {
			_, _ = io.Copy(server, conn)
			server.Close()
		}()
		_, _ = io.Copy(conn, server)
		return
	}
	backend := pgproto3.NewBackend(conn, conn)
	for {
		message, err := backend.ReceiveStartupMessage()
		if err != nil {
			return
		}
		if _, asks := message.(*pgproto3.SSLRequest); asks {
			if _, err := conn.Write([]byte{'N'}); err != nil {
				return
			}
			continue
		}
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P03", Message: "the database system is starting up"})
		_ = backend.Flush() // the client may have disconnected
		return
	}
}

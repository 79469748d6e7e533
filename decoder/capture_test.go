package decoder

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/pgtest"
)

var capture = flag.Bool("capture", false, "write what real servers sent to testdata/pgoutput")

// capturedMajors are the oldest and the newest Postgres that walpost supports.
var capturedMajors = []int{14, 18}

// TestCapture runs every scenario's SQL on a real server and decodes the messages that pgoutput makes of the WAL. This command renews the
// files that the other tests read:
//
//	go test ./decoder -run TestCapture -capture && go test ./decoder -run TestGolden -update
func TestCapture(t *testing.T) {
	for _, major := range capturedMajors {
		for _, s := range scenarios {
			t.Run(s.file(major), func(t *testing.T) {
				messages := s.run(t, pgtest.NewMajor(t, major))
				checkWant(t, s, s.decode(messages))
				if !*capture {
					return
				}
				var b []byte
				for _, m := range messages {
					b = binary.BigEndian.AppendUint32(b, uint32(len(m)))
					b = append(b, m...)
				}
				if err := os.WriteFile(filepath.Join(captures, s.file(major)+".bin"), b, 0o644); err != nil {
					t.Fatal(err)
				}
				if s.seed {
					writeSeed(t, s.file(major), b)
				}
			})
		}
	}
}

// run executes the scenario in a new database and returns pgoutput's messages. It fetches them with SQL functions: these call the same
// plugin as a walsender, but need no replication protocol.
func (s scenario) run(t *testing.T, db *pgtest.DB) [][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	sessions := sessions{t: t, ctx: ctx, dsn: db.DSN, open: map[string]*pgconn.PgConn{}}

	setup := s.setup
	if setup == nil {
		setup = []string{outboxDDL}
	}
	publication := s.publication
	if publication == "" {
		publication = "FOR TABLE walpost.outbox WITH (publish = 'insert')"
	}
	setup = slices.Concat([]string{"CREATE SCHEMA walpost"}, setup, []string{
		"CREATE PUBLICATION p " + publication,
		"SELECT pg_create_logical_replication_slot('" + db.Name + "', 'pgoutput')",
	})
	for _, sql := range setup {
		sessions.exec("setup", sql)
	}
	t.Cleanup(sessions.close)
	for _, step := range s.steps {
		session, sql, _ := strings.Cut(step, ": ")
		sessions.exec(session, sql)
	}
	options := append([]string{"proto_version", "1", "publication_names", "p"}, s.options...)
	return sessions.exec("setup", fmt.Sprintf("SELECT data FROM pg_logical_slot_get_binary_changes('%s', NULL, NULL, '%s')",
		db.Name, strings.Join(options, "', '")))
}

// sessions are connections by name, opened when first used.
type sessions struct {
	t    *testing.T
	ctx  context.Context
	dsn  string
	open map[string]*pgconn.PgConn
}

func (s *sessions) conn(name string) *pgconn.PgConn {
	s.t.Helper()
	if c := s.open[name]; c != nil {
		return c
	}
	config, err := pgconn.ParseConfig(s.dsn)
	if err != nil {
		s.t.Fatal(err)
	}
	config.RuntimeParams["TimeZone"] = "UTC" // as the relay sets it: it affects timestamps in text format
	c, err := pgconn.ConnectConfig(s.ctx, config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.open[name] = c
	return c
}

// exec runs a statement, COPY included, and returns its first column in binary format.
func (s *sessions) exec(session, sql string) [][]byte {
	s.t.Helper()
	conn := s.conn(session)
	if statement, data, isCopy := strings.Cut(sql, "FROM STDIN\n"); isCopy {
		if _, err := conn.CopyFrom(s.ctx, strings.NewReader(data), statement+"FROM STDIN"); err != nil {
			s.t.Fatalf("%s: %s: %v", session, statement, err)
		}
		return nil
	}
	result := conn.ExecParams(s.ctx, sql, nil, nil, nil, []int16{1}).Read()
	if result.Err != nil {
		s.t.Fatalf("%s: %s: %v", session, sql, result.Err)
	}
	var column [][]byte
	for _, row := range result.Rows {
		column = append(column, row[0])
	}
	return column
}

func (s *sessions) close() {
	for _, c := range s.open {
		c.Close(context.Background())
	}
}

package decoder

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"walpost/schema"
)

var update = flag.Bool("update", false, "rewrite the golden files with the result of decoding the captured WAL")

const captures = "../testdata/pgoutput"

// TestGolden decodes the captured WAL. Every change must be as in the golden file, and the payloads as the SQL requires.
func TestGolden(t *testing.T) {
	for _, major := range capturedMajors {
		for _, s := range scenarios {
			t.Run(s.file(major), func(t *testing.T) {
				messages := readCapture(t, s.file(major))
				got := s.decode(messages)
				checkWant(t, s, got)
				golden := filepath.Join(captures, s.file(major)+".json")
				if *update {
					if err := os.WriteFile(golden, got.json(t), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatalf("%v; run the test with -update to make it", err)
				}
				if diff := firstDifference(string(got.json(t)), string(want)); diff != "" {
					t.Errorf("%s: %s\nif this is meant, run the test with -update", golden, diff)
				}
			})
		}
	}
}

func (s scenario) file(major int) string { return fmt.Sprintf("%d-%s", major, s.name) }

// decoded is the result of decoding a stream, in the form of the JSON file.
type decoded struct {
	changes  []any
	payloads []string
	err      error
}

func (s scenario) decode(messages [][]byte) decoded {
	var out decoded
	d := s.decoder()
	for _, m := range messages {
		c, err := d.Decode(m)
		if err != nil {
			out.err = err
			out.changes = append(out.changes, map[string]string{"error": err.Error()})
			return out
		}
		out.add(c)
	}
	return out
}

func (out *decoded) add(c Change) {
	switch c := c.(type) {
	case *Begin:
		out.changes = append(out.changes, map[string]any{"begin": c.FinalLSN.String(), "time": *instant(c.CommitTime), "xid": c.XID})
	case *Commit:
		out.changes = append(out.changes, map[string]any{"commit": c.LSN.String(), "end": c.EndLSN.String()})
	case *Relation:
		var columns []string
		for _, col := range c.Columns {
			columns = append(columns, col.Name+" "+col.Type)
		}
		shape := map[string]any{"relation": c.OID, "columns": columns}
		if c.Err != nil {
			shape["unfit"] = c.Err.Error()
		}
		out.changes = append(out.changes, shape)
	case *Insert:
		out.changes = append(out.changes, eventJSON(c.Event))
		if v := value(c.Event.Values[schema.Payload]); v == nil {
			out.payloads = append(out.payloads, "NULL")
		} else {
			short, _, _ := strings.Cut(*v, ", sha256")
			out.payloads = append(out.payloads, short)
		}
	}
}

// eventJSON has a key for every value that is not NULL.
func eventJSON(ev *schema.Event) map[string]any {
	m := map[string]any{"insert": ev.Position.String(), "content": ev.Content}
	for c, v := range ev.Values {
		if v := value(v); v != nil {
			m[schema.Column(c).String()] = v
		}
	}
	if at := instant(ev.CreatedAt); at != nil {
		m["created_at"] = at
	}
	if at := instant(ev.Timestamp); at != nil {
		m["timestamp"] = at
	}
	return m
}

// value returns a value for a golden file: bytes as hexadecimal digits, and a long value as its length and checksum.
func value(v []byte) *string {
	var s string
	switch {
	case v == nil:
		return nil
	case len(v) > 500:
		s = fmt.Sprintf("%d bytes, sha256 %x", len(v), sha256.Sum256(v))
	case !utf8.Valid(v) || bytes.IndexByte(v, 0) >= 0:
		s = `\x` + hex.EncodeToString(v)
	default:
		s = string(v)
	}
	return &s
}

func instant(micros int64) *string {
	if micros == schema.NoTime {
		return nil
	}
	s := time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.000000Z")
	return &s
}

// json writes one change per line.
func (out decoded) json(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	separator := "[\n"
	for _, c := range out.changes {
		b.WriteString(separator)
		separator = ",\n"
		line, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
	}
	b.WriteString("\n]\n")
	return b.Bytes()
}

// checkWant compares the payloads with those that the scenario's SQL requires.
func checkWant(t *testing.T, s scenario, got decoded) {
	t.Helper()
	if !slices.Equal(got.payloads, s.want) {
		t.Errorf("payloads %q, want %q", got.payloads, s.want)
	}
	switch {
	case s.wantErr == "" && got.err != nil:
		t.Error(got.err)
	case s.wantErr != "" && (got.err == nil || !strings.Contains(got.err.Error(), s.wantErr)):
		t.Errorf("error %v, want one with %q", got.err, s.wantErr)
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, lineAt(g, i), lineAt(w, i))
		}
	}
	return ""
}

func lineAt(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(the end)"
}

// readCapture reads a file of messages, each after its length (4 bytes, big endian).
func readCapture(t testing.TB, name string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(captures, name+".bin"))
	if err != nil {
		t.Fatalf("%v; go test ./decoder -run TestCapture -capture writes it", err)
	}
	var messages [][]byte
	for len(b) > 0 {
		n := binary.BigEndian.Uint32(b)
		messages = append(messages, b[4:4+n:4+n])
		b = b[4+n:]
	}
	return messages
}

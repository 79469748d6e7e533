package admin

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walpost/cmd/walpost/internal/config"
	"walpost/cmd/walpost/internal/report"
	"walpost/internal/reason"
	"walpost/internal/testenv/certs"
	"walpost/relay"
	"walpost/relay/parking"
	"walpost/relay/postgres"
	"walpost/sink"
)

// The names and the form of the JSON that programs read.
func TestReport(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	before := func(seconds int) time.Time { return now.Add(-time.Duration(seconds) * time.Second) }
	a := &Server{version: "1.2.3"}
	text := show(t, a.report(now))
	for _, want := range []string{`"role":"starting"`, `"ready":false`, `"reason":"starting","reason_code":"starting"`, `"lag_seconds":null`, `"in_flight":null`, `"blocked_topics":[]`, `"dead_letters":null`, `"parked_topics":[]`, `"alarms":[]`, `"safe_bytes":null`} {
		if !strings.Contains(text, want) {
			t.Errorf("at the start: no %s in %s", want, text)
		}
	}
	if strings.Contains(text, "0001") {
		t.Errorf("a time that was never: %s", text)
	}
	state := relay.State{
		Role: relay.Leader, Since: before(100), Unacked: 5, UnackedSince: before(2), OldestUnacked: before(3), InFlightBytes: 1000, InFlightLimit: 32 << 20,
		LastEvent: before(1), LastAck: before(2), Received: 105, LagBytes: 77, Parked: parking.Parked{Events: 7, Keys: 2, What: "events cannot be parked", Waits: "locked",
			Topics: []parking.Waiting{{Topic: "new", Code: reason.TopicMissing, Detail: "no such topic", Cure: "create it", Since: before(9), Events: 5, Bytes: 99}}},
		Slot: postgres.SlotState{Seen: before(4), Active: true, WALStatus: "reserved", RetainedBytes: 4096, SafeBytes: -1, ConfirmedFlush: "0/16B3748"},
	}
	a.WatchSink("shop", func() sink.Status {
		return sink.Status{Published: 100, Blocked: []sink.BlockedTopic{{Name: "orders", For: 1500 * time.Millisecond}}}
	})
	a.WatchRelay(func() relay.State { return state })
	a.publishedRate.add(before(60), 40)
	a.publishedRate.add(before(10), 60)
	want := `{"version":"1.2.3","role":"leader","ready":true,"reason":"","reason_code":"","since":"2026-05-04T03:00:21Z",` +
		`"slot":{"name":"shop","seen":"2026-05-04T03:01:57Z","active":true,"wal_status":"reserved","retained_bytes":4096,"safe_bytes":null,"confirmed_lsn":"0/16B3748","confirmed_lag_bytes":77},` +
		`"lag_seconds":3,"events_per_second":{"last_10s":4,"last_1m":1},"in_flight":{"events":5,"bytes":1000,"limit_bytes":33554432},` +
		`"events":{"received":105,"published":100},"last_event":"2026-05-04T03:02:00Z","last_ack":"2026-05-04T03:01:59Z","last_confirm":null,` +
		`"blocked_topics":[{"topic":"orders","seconds":1.5}],"dead_letters":{"events":7,"keys":2,"oldest":null,"waits":"events cannot be parked: locked"},"parked_topics":[{"topic":"new","reason_code":"topic_missing","detail":"no such topic","cure":"create it","since":"2026-05-04T03:01:52Z","events":5,"bytes":99}],` +
		`"alarms":[{"reason_code":"topic_missing","text":"topic new takes no records: no such topic; create it","since":"2026-05-04T03:01:52Z"}]}`
	if got := show(t, a.report(now)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	state.Slot.SafeBytes = 0
	if got := show(t, a.report(now)); !strings.Contains(got, `"safe_bytes":0`) {
		t.Errorf("nothing is safe: %s", got)
	}
	state.Role, state.Code, state.Reason = relay.Standby, reason.SlotHeld, "another holds the slot"
	if got := show(t, a.report(now)); !strings.Contains(got, `"role":"standby","ready":true,"reason":"another holds the slot","reason_code":"slot_held"`) {
		t.Errorf("standby: %s", got)
	}
	a.SetStopping()
	if got := show(t, a.report(now)); !strings.Contains(got, `"role":"stopping","ready":false,"reason":"stopping","reason_code":"stopping","since":null`) {
		t.Errorf("stopping: %s", got)
	}
}

func show(t *testing.T, r report.Report) string {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// On the network, without a login, only health and metrics are visible. On loopback, a web page that pretends to be local gets nothing.
func TestWhoIsShownTheStatus(t *testing.T) {
	web, empty := writeWebConfig(t), filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, []byte("http_server_config:\n  http2: false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		listen, web, host string
		login             []string
		code              int
	}{
		{listen: "127.0.0.1:0", code: 200},
		{listen: "localhost:0", host: "localhost:8488", code: 200},
		{listen: "[::1]:0", code: 200},
		{listen: "127.0.0.1:0", host: "evil.example:8488", code: 403},
		{listen: "127.0.0.1:0", web: web, code: 401},
		{listen: "127.0.0.1:0", web: web, login: []string{"me", "secret"}, host: "relay.example", code: 200},
		{listen: "127.0.0.1:0", web: empty, code: 200}, // a file that requires no login changes nothing
		{listen: "127.0.0.1:0", web: empty, host: "evil.example:8488", code: 403},
		{listen: ":0", web: empty, code: 404},
		{listen: ":0", web: empty, login: []string{"me", "secret"}, code: 404},
		{listen: "0.0.0.0:0", code: 404},
		{listen: ":0", code: 404},
		{listen: ":0", web: web, login: []string{"me", "secret"}, code: 200},
	} {
		t.Run(strings.Join([]string{test.listen, test.web, test.host}, " "), func(t *testing.T) {
			a := start(t, config.Admin{Listen: test.listen, WebConfig: test.web})
			a.WatchSink("walpost", func() sink.Status { return sink.Status{} })
			a.WatchRelay(func() relay.State { return relay.State{Role: relay.Leader} })
			at := strings.NewReplacer("0.0.0.0", "127.0.0.1", "[::]", "127.0.0.1").Replace("http://" + a.addr.String())
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+"/api/status", nil)
			if err != nil {
				t.Fatal(err)
			}
			if req.Host = test.host; test.login != nil {
				req.SetBasicAuth(test.login[0], test.login[1])
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var body report.Report
			if res.StatusCode != test.code || test.code == 200 && (json.NewDecoder(res.Body).Decode(&body) != nil || body.Role != "leader" || body.Slot.Name != "walpost") {
				t.Errorf("%d %+v, want %d", res.StatusCode, body, test.code)
			}
			metrics := http.StatusOK
			if test.code == http.StatusUnauthorized {
				metrics = test.code
			}
			for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/metrics": metrics} {
				if code, _ := get(t, at+path, test.login...); code != want {
					t.Errorf("%s: %d, want %d", path, code, want)
				}
			}
		})
	}
}

// TestStatusWithClientCertificates: on the network, a client with a verified certificate sees the status, whatever else the file requires.
// A certificate that was not verified is not enough, because anybody can make one.
func TestStatusWithClientCertificates(t *testing.T) {
	issue := func(ca *certs.Authority, name string) *certs.Files {
		files, err := ca.Issue(t.TempDir(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &files
	}
	authority := func() *certs.Authority {
		ca, err := certs.NewAuthority("test")
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	ca := authority()
	server, client, stranger := issue(ca, "server"), issue(ca, "client"), issue(authority(), "client")
	for _, test := range []struct {
		auth string
		with *certs.Files
		code int
	}{
		{auth: "RequireAndVerifyClientCert", with: client, code: 200},
		{auth: "VerifyClientCertIfGiven", with: client, code: 200},
		{auth: "VerifyClientCertIfGiven", code: 404},
		{auth: "RequireAnyClientCert", with: stranger, code: 404},
		{auth: "NoClientCert", code: 404},
	} {
		text := "tls_server_config:\n  cert_file: " + server.Cert + "\n  key_file: " + server.Key + "\n  client_auth_type: " + test.auth + "\n"
		if test.auth != "NoClientCert" {
			text += "  client_ca_file: " + server.CA + "\n"
		}
		web := filepath.Join(t.TempDir(), "web.yaml")
		if err := os.WriteFile(web, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		a := start(t, config.Admin{Listen: "0.0.0.0:0", WebConfig: web})
		config := &tls.Config{InsecureSkipVerify: true} // the server's identity does not matter here
		if test.with != nil {
			pair, err := tls.LoadX509KeyPair(test.with.Cert, test.with.Key)
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		_, port, _ := net.SplitHostPort(a.addr.String())
		res, err := (&http.Client{Transport: transport}).Get("https://127.0.0.1:" + port + "/api/status")
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != test.code {
			t.Errorf("%s, a certificate: %v: %d, want %d", test.auth, test.with != nil, res.StatusCode, test.code)
		}
	}
}

// TestUsersMayBeTakenAway: the file is read for each request, so the status is hidden as soon as the file asks for no password any more.
func TestUsersMayBeTakenAway(t *testing.T) {
	web := writeWebConfig(t)
	_, port, _ := net.SplitHostPort(start(t, config.Admin{Listen: ":0", WebConfig: web}).addr.String())
	at := "http://127.0.0.1:" + port
	if code, _ := get(t, at+"/api/status", "me", "secret"); code != http.StatusOK {
		t.Fatalf("with users: %d", code)
	}
	if err := os.WriteFile(web, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, body := get(t, at+"/api/status"); code != http.StatusNotFound {
		t.Errorf("without users: %d %s", code, body)
	}
}

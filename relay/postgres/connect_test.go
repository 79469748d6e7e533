package postgres

import (
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestSeveralHosts: of several servers only the primary is accepted, unless the connection string says otherwise. A single server that is
// tried twice does not count as several.
func TestSeveralHosts(t *testing.T) {
	primary := reflect.ValueOf(pgconn.ValidateConnectTargetSessionAttrsPrimary).Pointer()
	for conn, want := range map[string]bool{
		"postgres://a,b/shop":                                      true,
		"postgres://a:1,a:2/shop":                                  true,
		"host=a,b":                                                 true,
		"postgres://a/shop?sslmode=prefer":                         false, // with TLS and without
		"postgres://a/shop?sslmode=disable":                        false,
		"postgres://a,b/shop?target_session_attrs=read-write":      false,
		"postgres://a,b/shop?target_session_attrs=primary":         true,
		"postgres://a/shop?target_session_attrs=prefer-standby":    false,
		"postgres://a,b/shop?sslmode=require&connect_timeout=3":    true,
		"postgres://a,a/shop?sslmode=disable&application_name=one": false,
	} {
		cfg, err := pgconn.ParseConfig(conn)
		if err != nil {
			t.Fatalf("%s: %v", conn, err)
		}
		PrepareConfig(cfg)
		got := cfg.ValidateConnect != nil && reflect.ValueOf(cfg.ValidateConnect).Pointer() == primary
		if got != want {
			t.Errorf("%s: the primary alone: %v, want %v", conn, got, want)
		}
	}
}

// TestConnectionSettings: a role's own limits do not end a connection that waits, and the user's own settings stay.
func TestConnectionSettings(t *testing.T) {
	cfg, err := pgconn.ParseConfig("postgres://a/shop?application_name=mine&connect_timeout=3&wal_sender_timeout=1s")
	if err != nil {
		t.Fatal(err)
	}
	PrepareConfig(cfg)
	for name, want := range map[string]string{
		"application_name": "mine", "wal_sender_timeout": "1s", "lock_timeout": "0", "idle_session_timeout": "0", "TimeZone": "UTC",
	} {
		if got := cfg.RuntimeParams[name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if cfg.ConnectTimeout.Seconds() != 3 {
		t.Errorf("connect_timeout %v", cfg.ConnectTimeout)
	}
}

package replication

import "testing"

// TestStartCommand: any name that Postgres accepts arrives unchanged; that of a publication is an identifier in a literal.
func TestStartCommand(t *testing.T) {
	for _, c := range []struct {
		publication string
		binary      bool
		want        string
	}{
		{"walpost", false, `START_REPLICATION SLOT "shop" LOGICAL 0/0 (proto_version '1', publication_names '"walpost"')`},
		{"walpost", true, `START_REPLICATION SLOT "shop" LOGICAL 0/0 (proto_version '1', publication_names '"walpost"', binary 'true')`},
		{`My "o'clock", mine`, false, `START_REPLICATION SLOT "shop" LOGICAL 0/0 (proto_version '1', publication_names '"My ""o''clock"", mine"')`},
	} {
		if got := startCommand("shop", c.publication, c.binary); got != c.want {
			t.Errorf("publication %s: %s, want %s", c.publication, got, c.want)
		}
	}
}

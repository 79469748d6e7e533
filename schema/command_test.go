package schema

import "testing"

func TestCommand(t *testing.T) {
	for table, want := range map[Table]string{
		DefaultTable:                       "walpost schema apply",
		{Schema: "shop", Name: "events_1"}: "walpost schema apply --table shop.events_1",
		{Schema: "Shop", Name: "o'events"}: `walpost schema apply --table '"Shop"."o'\''events"'`,
		{Schema: "shop", Name: "pay$"}:     `walpost schema apply --table 'shop.pay$'`,
	} {
		if got := Command("apply", table); got != want {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
}

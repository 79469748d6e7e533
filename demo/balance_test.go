package main

import (
	"slices"
	"strings"
	"testing"
)

func TestBalance(t *testing.T) {
	once := func(ids ...int64) map[int64]int {
		times := map[int64]int{}
		for _, id := range ids {
			times[id]++
		}
		return times
	}
	void := map[int64]string{3: "rolled back", 4: "killed"}
	for _, test := range []struct {
		name                         string
		committed, deducted, granted map[int64]int
		want                         []string
		missing                      int
	}{
		{"nothing was ordered", once(), once(), once(), nil, 0},
		{"holds", once(1, 2), once(1, 2), once(1, 2), nil, 0},
		{"lost in one", once(1, 2), once(1, 2), once(1), []string{"order #2: committed 1, deducted 1, granted 0"}, 1},
		{"lost in both", once(1, 2), once(2), once(2), []string{"order #1: committed 1, deducted 0, granted 0"}, 2},
		{"applied twice", once(1), once(1, 1), once(1), []string{"order #1: committed 1, deducted 2, granted 1"}, 0},
		{
			"sums agree, orders do not", once(1, 2), once(1, 1), once(1, 2),
			[]string{"order #1: committed 1, deducted 2, granted 1", "order #2: committed 1, deducted 0, granted 1"}, 1,
		},
		{
			"rolled back, with an effect", once(1), once(1, 3), once(1),
			[]string{"order #3: committed 0, deducted 1, granted 0, though it was rolled back"}, 0,
		},
		{
			"killed, and committed all the same", once(4), once(4), once(4),
			[]string{"order #4: committed 1, deducted 1, granted 1, though it was killed"}, 0,
		},
		{"an event of no order", once(1), once(1, 9), once(1, 9), []string{"order #9: committed 0, deducted 1, granted 1"}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := balance{committed: test.committed, deducted: test.deducted, granted: test.granted, void: void}
			if got := b.differences(); !slices.Equal(got, test.want) {
				t.Errorf("differences:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			if got := b.missing(); got != test.missing {
				t.Errorf("missing %d effects, want %d", got, test.missing)
			}
		})
	}
}

func TestBalanceInWords(t *testing.T) {
	b := balance{
		committed: map[int64]int{1: 1, 2: 1}, deducted: map[int64]int{1: 1, 2: 1}, granted: map[int64]int{1: 1, 2: 1},
		void: map[int64]string{3: "rolled back", 4: "killed", 5: "rolled back"}, duplicates: 7,
	}
	want := "stock deducted 2 = points granted 2 = orders committed 2, duplicates met and ignored: 7\n" +
		"the balance holds; without effect, as it should be: 1 killed, 2 rolled back"
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	b.granted[2] = 2
	want = "stock deducted 2 ≠ points granted 3 ≠ orders committed 2, duplicates met and ignored: 7\nthe balance does not hold:"
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

package kafkaproxy

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// elsewhere are the retriable errors that no broker returns to a produce
// request of the version that walpost sends.
var elsewhere = map[int16]string{
	kerr.NotController.Code:               "administration",
	kerr.FetchSessionIDNotFound.Code:      "fetching",
	kerr.InvalidFetchSessionEpoch.Code:    "fetching",
	kerr.ListenerNotFound.Code:            "metadata",
	kerr.OffsetNotAvailable.Code:          "listing offsets",
	kerr.PreferredLeaderNotAvailable.Code: "elections",
	kerr.EligibleLeadersNotAvailable.Code: "elections",
	kerr.ElectionNotNeeded.Code:           "elections",
	kerr.UnstableOffsetCommit.Code:        "groups",
	kerr.UnknownTopicID.Code:              "topics named by id: Produce 13",
	kerr.InconsistentTopicID.Code:         "topics named by id",
	kerr.FetchSessionTopicIDError.Code:    "fetching",
	kerr.ShareSessionLimitReached.Code:    "share groups",
}

// Each retriable error of the protocol is either in Retriable or in elsewhere. A
// new error makes this test fail.
func TestRetriable(t *testing.T) {
	known := map[int16]Code{}
	for _, c := range Retriable {
		if _, twice := known[c.Number]; twice {
			t.Errorf("%s is there twice", c.Name)
		}
		known[c.Number] = c
		if e := kerr.TypedErrorForCode(c.Number); e.Message != c.Name || !e.Retriable && e != kerr.UnknownServerError {
			t.Errorf("%+v: the protocol has %s, retriable: %v", c, e.Message, e.Retriable)
		}
	}
	for number := int16(1); number < 1000; number++ {
		e := kerr.TypedErrorForCode(number)
		_, ours := known[number]
		_, theirs := elsewhere[number]
		if e.Code == number && e.Retriable && ours == theirs {
			t.Errorf("%s (%d): among Retriable %v, elsewhere %v: decide where it belongs", e.Message, number, ours, theirs)
		}
	}
}

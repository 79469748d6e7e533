package schema

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"
)

func TestParseTimestamp(t *testing.T) {
	at := func(s string) int64 {
		t.Helper()
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixMicro()
	}
	for text, want := range map[string]int64{
		"1970-01-01 00:00:00+00":                 0,
		"2026-11-20 12:34:56+00":                 at("2026-11-20T12:34:56Z"),
		"2026-11-20 12:34:56":                    at("2026-11-20T12:34:56Z"),
		"2026-11-20 12:34:56.7":                  at("2026-11-20T12:34:56.7Z"),
		"2026-11-20 12:34:56.789012+00":          at("2026-11-20T12:34:56.789012Z"),
		"2026-11-20 12:34:56.000001-03":          at("2026-11-20T15:34:56.000001Z"),
		"2026-11-20 12:34:56+05:30":              at("2026-11-20T07:04:56Z"),
		"1883-11-18 12:03:57-04:56:02":           at("1883-11-18T16:59:59Z"),
		"1890-01-01 00:00:00+00:17:30":           at("1889-12-31T23:42:30Z"),
		"2024-02-29 23:59:59.999999+00":          at("2024-02-29T23:59:59.999999Z"),
		"1969-12-31 23:59:59.999999+00":          -1,
		"0001-01-01 00:00:00+00":                 at("0001-01-01T00:00:00Z"),
		"0001-01-01 00:00:00+01":                 NoTime,
		"9999-12-31 23:59:59.999999+00":          at("9999-12-31T23:59:59.999999Z"),
		"9999-12-31 23:59:59.999999-01":          NoTime,
		"10000-01-01 00:00:00+00":                NoTime,
		"10000-01-01 00:30:00+01":                at("9999-12-31T23:30:00Z"),
		"294276-12-31 23:59:59.999999+00":        NoTime,
		"4713-01-01 00:00:00 BC":                 NoTime,
		"0005-02-29 00:00:00+00 BC":              NoTime,
		"4714-11-24 00:00:00.123456+00:17:30 BC": NoTime,
		"0001-12-31 19:03:58-04:56:02 BC":        at("0001-01-01T00:00:00Z"),
		"0001-12-31 19:03:57-04:56:02 BC":        NoTime,
		"0001-02-29 00:00:00 BC":                 NoTime,
		"infinity":                               NoTime,
		"-infinity":                              NoTime,
	} {
		if got, err := timestamp(TextFormat, []byte(text)); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestParseTimestampRefuses(t *testing.T) {
	for _, text := range []string{
		"", "now", "Infinity", "2026-11-20", "2026-11-20 ", "2026-11-20T12:34:56Z", "20.11.2026 12:34:56", "11/20/2026 12:34:56 UTC",
		"Fri Nov 20 12:34:56 2026 UTC", "26-11-20 12:34:56", "2026-13-01 00:00:00", "2026-00-01 00:00:00", "2026-02-29 00:00:00",
		"2026-04-31 00:00:00", "2026-01-32 00:00:00", "2026-01-00 00:00:00", "0000-01-01 00:00:00", "2026-11-20 24:00:00",
		"2026-11-20 12:60:00", "2026-11-20 12:34:60", "2026-11-20 12:34:56.", "2026-11-20 12:34:56.1234567", "2026-11-20 12:34:56+",
		"2026-11-20 12:34:56+5", "2026-11-20 12:34:56+05:", "2026-11-20 12:34:56+05:60", "2026-11-20 12:34:56+05:30:60", "2026-11-20 12:34:56+16",
		"2026-11-20 12:34:56+00 AD", "2026-11-20 12:34:56+00 BC ", "2026-11-20 12:34:56 +00", "1234567-11-20 12:34:56",
		"2026-11-20 12:34:56\x00", "0004-02-29 00:00:00 BC",
	} {
		if got, err := timestamp(TextFormat, []byte(text)); !errors.Is(err, errTimestamp) {
			t.Errorf("%q is %d, %v, want an error", text, got, err)
		}
	}
	long := make([]byte, 1<<20)
	if _, err := timestamp(TextFormat, long); err == nil || len(err.Error()) > 300 {
		t.Error("a megabyte that is no time is accepted, or quoted whole")
	}
}

func TestBinaryTimestamp(t *testing.T) {
	const epoch = 946_684_800_000_000
	for _, c := range []struct{ sent, want int64 }{
		{0, epoch},
		{-epoch, 0},
		{1, epoch + 1},
		{math.MaxInt64, NoTime},
		{math.MinInt64, NoTime},
		{time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro() - epoch, time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro()},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() - epoch, NoTime},
		{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() - epoch, time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()},
		{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() - epoch - 1, NoTime},
	} {
		if got, err := timestamp(BinaryFormat, binary.BigEndian.AppendUint64(nil, uint64(c.sent))); err != nil || got != c.want {
			t.Errorf("%d is %d, %v, want %d", c.sent, got, err, c.want)
		}
	}
	for _, n := range []int{0, 1, 7, 9} {
		if _, err := timestamp(BinaryFormat, make([]byte, n)); err == nil {
			t.Errorf("%d bytes are a timestamp", n)
		}
	}
}

// Every day of ten thousand years, as package time counts it.
func TestDaysSince1970(t *testing.T) {
	for day := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 10_001; day = day.AddDate(0, 0, 1) {
		y, m, d := day.Date()
		if got, want := daysSince1970(y, int(m), d), day.Unix()/(24*60*60); got != want || !isDate(y, int(m), d) {
			t.Fatalf("%v is day %d, want %d", day, got, want)
		}
		if next := day.AddDate(0, 0, 1); next.Day() == 1 && isDate(y, int(m), d+1) {
			t.Fatalf("%v is followed by the %d", day, d+1)
		}
	}
}

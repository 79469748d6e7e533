package schema

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	microsPerDay = 24 * 60 * 60 * 1_000_000

	postgresEpoch = 10_957 * microsPerDay    // 2000-01-01, from which Postgres counts
	firstTime     = -719_162 * microsPerDay  // 0001-01-01
	endOfTimes    = 2_932_897 * microsPerDay // 10000-01-01, the first instant that RFC 3339 cannot write
)

// timestamp returns the microseconds since 1970-01-01 UTC, or NoTime. A timestamp without time zone counts as UTC.
func timestamp(f Format, v []byte) (int64, error) {
	if f == TextFormat {
		if t, ok := usualTimestamp(v); ok {
			return t, nil
		}
		return parseTimestamp(v)
	}
	if len(v) != 8 {
		return 0, lengthError("timestamp", len(v), 8)
	}
	t := int64(binary.BigEndian.Uint64(v))
	if t < firstTime-postgresEpoch || t >= endOfTimes-postgresEpoch { // the infinities are the ends of int64
		return NoTime, nil
	}
	return t + postgresEpoch, nil
}

var errTimestamp = errors.New("not a timestamp in DateStyle ISO")

// parseTimestamp reads the text of a timestamp under DateStyle ISO: 2026-11-20 12:34:56.789012+05:30:15 BC, or infinity, or -infinity. The
// fraction, the zone, the zone's minutes and seconds, and the era may be absent.
func parseTimestamp(v []byte) (int64, error) {
	switch string(v) {
	case "infinity", "-infinity":
		return NoTime, nil
	}
	p := timeParser{rest: v}
	year := p.number(4, 6)
	month, day := p.pair('-'), p.pair('-')
	hour, minute, second := p.pair(' '), p.pair(':'), p.pair(':')
	micros := p.fraction()
	offset := p.zone()
	p.bad = p.bad || year == 0
	if p.era() {
		year = 1 - year // as astronomers count
	}
	if p.bad || len(p.rest) > 0 || !isDate(year, month, day) || hour > 23 || minute > 59 || second > 59 {
		return 0, fmt.Errorf("%q is %w", clip(v), errTimestamp)
	}
	if year < 0 || year > 10_000 { // in UTC, a time just outside these years may still be inside
		return NoTime, nil
	}
	seconds := hour*3600 + minute*60 + second - offset
	t := daysSince1970(year, month, day)*microsPerDay + int64(seconds)*1_000_000 + int64(micros)
	if t < firstTime || t >= endOfTimes {
		return NoTime, nil
	}
	return t, nil
}

func isDate(year, month, day int) bool {
	if month < 1 || month > 12 || day < 1 {
		return false
	}
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		return day <= 29
	}
	return day <= int("\x1f\x1c\x1f\x1e\x1f\x1e\x1f\x1f\x1e\x1f\x1e\x1f"[month-1])
}

// daysSince1970 counts days in the Gregorian calendar. It is right for years from 1 on, and for the December before. Every event needs it,
// and package time would take three times as long. Here the year begins in March, so that the leap day is its last day, and five months
// always have 153 days.
func daysSince1970(year, month, day int) int64 {
	if month -= 3; month < 0 {
		month += 12
		year--
	}
	return int64(year*365 + year/4 - year/100 + year/400 + (153*month+2)/5 + day - 1 - 719_468)
}

// timeParser reads a timestamp from its beginning. After a mistake it sets bad and goes on, which does no harm.
type timeParser struct {
	rest []byte
	bad  bool
}

// number reads between least and most digits.
func (p *timeParser) number(least, most int) int {
	n, value := 0, 0
	for n < len(p.rest) && n < most && '0' <= p.rest[n] && p.rest[n] <= '9' {
		value = value*10 + int(p.rest[n]-'0')
		n++
	}
	p.bad = p.bad || n < least
	p.rest = p.rest[n:]
	return value
}

// pair reads the separator and two digits.
func (p *timeParser) pair(separator byte) int {
	if len(p.rest) < 3 {
		p.bad = true
		return 0
	}
	tens, ones := p.rest[1]-'0', p.rest[2]-'0'
	p.bad = p.bad || p.rest[0] != separator || tens > 9 || ones > 9
	p.rest = p.rest[3:]
	return int(tens)*10 + int(ones)
}

func (p *timeParser) next(c byte) bool { return len(p.rest) > 0 && p.rest[0] == c }

// fraction reads the fraction of a second, in microseconds. Postgres omits trailing zeros.
func (p *timeParser) fraction() int {
	if !p.next('.') {
		return 0
	}
	before := len(p.rest) - 1
	p.rest = p.rest[1:]
	value := p.number(1, 6)
	for n := before - len(p.rest); n < 6; n++ {
		value *= 10
	}
	return value
}

// zone reads an offset from UTC and returns it in seconds; east is positive. Local mean times of the 19th century have seconds in their
// offset.
func (p *timeParser) zone() int {
	sign := 1
	switch {
	case p.next('+'):
	case p.next('-'):
		sign = -1
	default:
		return 0
	}
	hours, minutes, seconds := p.pair(p.rest[0]), 0, 0
	if p.next(':') {
		minutes = p.pair(':')
	}
	if p.next(':') {
		seconds = p.pair(':')
	}
	p.bad = p.bad || hours > 15 || minutes > 59 || seconds > 59
	return sign * (hours*3600 + minutes*60 + seconds)
}

func (p *timeParser) era() bool {
	if string(p.rest) != " BC" {
		return false
	}
	p.rest = nil
	return true
}

// clip shortens a value for an error.
func clip(v []byte) []byte { return v[:min(len(v), 40)] }

package record

// instant formats times. Most events have the same second as the previous event: then it writes only the fraction again.
type instant struct {
	sec  int64 // of text
	text []byte
}

// of returns microseconds since 1970 as RFC 3339 with six decimals and Z, valid until the next call.
func (t *instant) of(us int64) []byte {
	sec, frac := floorDiv(us, 1_000_000)
	if len(t.text) == 0 || sec != t.sec {
		t.sec, t.text = sec, appendInstant(t.text[:0], us)
		return t.text
	}
	at := len(t.text) - len("000000Z")
	return append(appendDigits(t.text[:at], frac, 6), 'Z')
}

// appendInstant appends microseconds since 1970 as RFC 3339 with six decimals and Z. time.AppendFormat does the same ten times slower, and
// this runs once per event.
func appendInstant(b []byte, us int64) []byte {
	sec, frac := floorDiv(us, 1_000_000)
	day, sec := floorDiv(sec, 86_400)
	// Convert days to a date by era: the proleptic Gregorian calendar, with years that begin in March.
	day += 719_468
	era, doe := floorDiv(day, 146_097)
	yoe := (doe - doe/1460 + doe/36_524 - doe/146_096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	month := (5*doy + 2) / 153
	d := doy - (153*month+2)/5 + 1
	year := yoe + era*400
	if month += 3; month > 12 {
		month, year = month-12, year+1
	}
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), month, 2)
	b = appendDigits(append(b, '-'), d, 2)
	b = appendDigits(append(b, 'T'), sec/3600, 2)
	b = appendDigits(append(b, ':'), sec/60%60, 2)
	b = appendDigits(append(b, ':'), sec%60, 2)
	b = appendDigits(append(b, '.'), frac, 6)
	return append(b, 'Z')
}

func floorDiv(a, b int64) (q, r int64) {
	q, r = a/b, a%b
	if r < 0 {
		q, r = q-1, r+b
	}
	return q, r
}

func appendDigits(b []byte, v int64, n int) []byte {
	at := len(b)
	b = append(b, "000000"[:n]...)
	for i := at + n - 1; i >= at; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
	return b
}

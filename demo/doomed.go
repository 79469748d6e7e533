package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// doomedArgument is the argument that makes this program an order client that
// is killed. Its session in Postgres has the same name.
const doomedArgument = "doomed-order-client"

// doomedClient inserts an order, prints it, and waits without inserting the
// event. Its standard input ends if the demo dies before it kills the client.
func doomedClient(dsn string) error {
	ctx := context.Background()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	config.RuntimeParams["application_name"] = doomedArgument
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	o := order{Customer: "kurt", Item: "tea"}
	if err := o.insert(ctx, tx); err != nil {
		return err
	}
	fmt.Println(o.ID, o.Customer, o.Item)
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(errors.New("wait to be killed: the demo has ended"), err)
}

// killBetweenInserts runs the doomed client and kills it by SIGKILL when its
// order is inserted and its event is not. It returns when Postgres has ended
// the session.
func (s *orderService) killBetweenInserts(ctx context.Context) error {
	o, err := runDoomed(ctx, s.dsn)
	if err != nil {
		return fmt.Errorf("kill an order client between its inserts: %w", err)
	}
	s.avoid(o, "killed")
	return until(ctx, "Postgres has ended the killed client's session", func(ctx context.Context) (bool, error) {
		sessions, err := query[int32](ctx, s.dsn, `select pid from pg_stat_activity where application_name = $1`, doomedArgument)
		return err == nil && len(sessions) == 0, err
	})
}

// runDoomed returns the order that the client inserted before it was killed.
func runDoomed(ctx context.Context, dsn string) (o order, err error) {
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	cmd := exec.CommandContext(ctx, self, doomedArgument, dsn) // kills by SIGKILL
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo alone
	if _, err := cmd.StdinPipe(); err != nil {
		return o, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return o, err
	}
	if err := cmd.Start(); err != nil {
		return o, err
	}
	_, err = fmt.Fscan(stdout, &o.ID, &o.Customer, &o.Item)
	kill()
	if end := cmd.Wait(); err == nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		err = fmt.Errorf("the client ended by itself: %v", end)
	}
	return o, err
}

package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/child"
)

const composeFile = "../deploy/compose.yaml"

// loadCompose reads a compose file of the folder deploy with Compose's own loader, which checks it against the schema of the specification.
func loadCompose(ctx context.Context, text []byte) (*types.Project, error) {
	dir, err := filepath.Abs(filepath.Dir(composeFile))
	if err != nil {
		return nil, err
	}
	project, err := loader.LoadWithContext(ctx, types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, filepath.Base(composeFile)), Content: text}},
		Environment: types.Mapping{},
	})
	if err != nil {
		return nil, err
	}
	return project, checkServices(project)
}

// checkServices checks what Compose finds out only with an engine.
func checkServices(project *types.Project) error {
	built := make(map[string]bool)
	for _, s := range project.Services {
		if s.Build == nil {
			continue
		}
		built[s.Image] = true
		if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
			return fmt.Errorf("service %s: %w", s.Name, err)
		}
	}
	for _, s := range project.Services {
		for name, dependency := range s.DependsOn {
			other := project.Services[name]
			switch {
			case dependency.Condition == types.ServiceConditionHealthy && other.HealthCheck == nil:
				return fmt.Errorf("service %s waits until %s is healthy, which has no healthcheck", s.Name, name)
			case dependency.Condition == types.ServiceConditionCompletedSuccessfully && other.Restart != "":
				return fmt.Errorf("service %s waits for the end of %s, which is started again", s.Name, name)
			}
		}
		switch {
		case built[s.Image] && s.Build == nil && s.PullPolicy != types.PullPolicyNever:
			return fmt.Errorf("service %s has the image that another one builds, and would pull a stranger's of that name", s.Name)
		case slices.Equal(s.Command, types.ShellCommand{"run"}) && (s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= 15*time.Second):
			return fmt.Errorf("service %s is killed before it has stopped", s.Name)
		}
		if err := errors.Join(checkAddresses(project, s), checkPrograms(s)); err != nil {
			return fmt.Errorf("service %s: %w", s.Name, err)
		}
		for name, value := range s.Environment {
			if err := checkPassword(project, *value); err != nil {
				return fmt.Errorf("service %s: %s: %w", s.Name, name, err)
			}
		}
		for _, word := range s.Entrypoint {
			if err := checkPassword(project, word); err != nil {
				return fmt.Errorf("service %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

// serverAddress matches the address of a server in a URL, in a list of brokers and in an argument.
var serverAddress = regexp.MustCompile(`(?:^|[@/=, ])([a-z][a-z.]*|127\.0\.0\.1)(?::([0-9]+))?(?:[/?, ]|$)`)

// checkAddresses checks that each server which a service names is a service that starts before it, or the service itself. In a container
// localhost is the container.
func checkAddresses(project *types.Project, s types.ServiceConfig) error {
	words := slices.Concat(s.Entrypoint, s.Command)
	for _, value := range s.Environment {
		words = append(words, *value)
	}
	before := make(map[string]bool)
	startsBefore(project, s.Name, before)
	for _, word := range words {
		for _, found := range serverAddress.FindAllStringSubmatch(word, -1) {
			host, port := found[1], found[2]
			_, service := project.Services[host]
			switch {
			case !service && host != "localhost" && host != "127.0.0.1":
			case service && (host == s.Name || before[host]):
			case service && (port != "" || strings.Contains(word, "@"+host)):
				return fmt.Errorf("it connects to %s, and may start before it", host)
			case !service && !strings.Contains(strings.Join(words, " "), "//:"+port):
				return fmt.Errorf("%s is the container itself, and nothing listens there", found[0])
			}
		}
	}
	return nil
}

// scripts is where Kafka's image has its scripts.
const scripts = "/opt/kafka/bin/"

// checkPrograms checks where a service's programs are, and when it is started again. The test runs programs of this machine instead.
func checkPrograms(s types.ServiceConfig) error {
	programs := slices.Clone(s.Entrypoint[:min(1, len(s.Entrypoint))])
	if s.HealthCheck != nil && len(s.HealthCheck.Test) > 1 {
		programs = append(programs, s.HealthCheck.Test[1])
	}
	for _, program := range programs {
		if dir, name := path.Split(program); strings.HasSuffix(name, ".sh") != (dir == scripts) || dir != "" && dir != scripts {
			return fmt.Errorf("no image has the program %s", program)
		}
	}
	if restart, _, _ := strings.Cut(s.Restart, ":"); !slices.Contains([]string{"", "no", "always", "on-failure", "unless-stopped"}, restart) {
		return fmt.Errorf("there is no restart policy %s", s.Restart)
	}
	return nil
}

// startsBefore adds the services to before that have to start, or to end, before the named one starts.
func startsBefore(project *types.Project, name string, before map[string]bool) {
	for dependency := range project.Services[name].DependsOn { // the loader refuses cycles
		before[dependency] = true
		startsBefore(project, dependency, before)
	}
}

// checkPassword checks the password of a superuser's URL. The test's server does not ask for it.
func checkPassword(project *types.Project, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.User.Username() != "postgres" {
		return nil
	}
	if password, _ := u.User.Password(); password != *project.Services["postgres"].Environment["POSTGRES_PASSWORD"] {
		return errors.New("the password is not POSTGRES_PASSWORD")
	}
	return nil
}

// TestComposeMistakes: a mistake in the compose file is an error.
func TestComposeMistakes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	for right, wrong := range map[string]string{
		"healthcheck:":                       "healthchek:",
		"condition: service_healthy":         "condition: healthy",
		"kafka: {condition: service_healthy": "kafak: {condition: service_healthy",
		"command: [\"run\"]":                 "command: {run: true}",
		"dockerfile: deploy/Dockerfile":      "dockerfile: Dockerfile",
		"pull_policy: never":                 "pull_policy: missing",
		"stop_grace_period: 20s":             "stop_grace_period: 10s",
		"interval: 2s":                       "interval: two",
		"POSTGRES_PASSWORD: admin-secret":    "POSTGRES_PASSWORD: secret",
		"\n  topic:\n":                       "\n  topic:\n    restart: always\n",
		"/opt/kafka/bin/kafka-topics.sh":     "/opt/kafka/kafka-topics.sh",
		"/opt/kafka/bin/kafka-console":       "kafka-console",
		"\"walpost\", \"status\"":            "\"/walpost\", \"status\"",
		"restart: on-failure:5":              "restart: onfail:5",
		"admin-secret@postgres:5432":         "admin-secret@localhost:5432",
		"walpost-secret@postgres:5432/shop":  "walpost-secret@localhost/shop",
		"KAFKA_BOOTSTRAP_SERVERS: kafka":     "KAFKA_BOOTSTRAP_SERVERS: localhost",
		"PLAINTEXT://kafka:9092":             "PLAINTEXT://localhost:9094",
		"    depends_on:\n      postgres: {condition: service_healthy}\n":             "",
		"    depends_on:\n      kafka: {condition: service_healthy}\n":                "",
		"    depends_on:\n      roles: {condition: service_completed_successfully}\n": "",
		"    depends_on:\n      topic: {condition: service_completed_successfully}\n": "",
		"      topic: {condition: service_completed_successfully}\n    command":       "    command",
		"      schema: {condition: service_completed_successfully}\n":                 "",
	} {
		if !strings.Contains(string(text), right) {
			t.Errorf("the compose file has no %s", right)
		}
		if _, err := loadCompose(t.Context(), []byte(strings.Replace(string(text), right, wrong, 1))); err == nil {
			t.Errorf("%q instead of %q is no error", wrong, right)
		}
	}
}

// TestCompose runs the services of deploy/compose.yaml in their order, each as a process instead of a container, and then the README's
// blocks for Docker. Only addresses are replaced: names, passwords, topics and commands are as they stand in the two files.
func TestCompose(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	project, err := loadCompose(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	c := newContainers(t, project)
	for _, s := range inOrder(project) {
		c.up(t, s)
	}
	ran := 0
	for _, b := range readme(t) {
		if b.how == needsDocker {
			c.reader(t, b).do(t, b)
			ran++
		}
	}
	if ran < 4 {
		t.Errorf("the README has %d blocks for Docker", ran)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*project.Services["walpost"].StopGracePeriod))
	defer cancel()
	if err := c.running["walpost"].Terminate(ctx); err != nil {
		t.Errorf("stop walpost: %v", err)
	}
	noTrace(t, child.Tail(c.log("walpost")))
}

// inOrder returns the services, each after those that it depends on. walpost comes as early as it may, so a dependency that is
// missing in the file makes the test fail.
func inOrder(project *types.Project) (services []types.ServiceConfig) {
	seen := make(map[string]bool)
	var visit func(name string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		s := project.Services[name]
		for _, dependency := range slices.Sorted(maps.Keys(s.DependsOn)) { // the loader refuses cycles
			visit(dependency)
		}
		services = append(services, s)
	}
	visit("walpost")
	for _, name := range project.ServiceNames() {
		visit(name)
	}
	return services
}

// containers are the processes that stand for the containers of a project.
type containers struct {
	project  *types.Project
	home     *child.Home
	walpost  string // the entry point of its image
	admin    string // the address of walpost's admin server: containers have loopback addresses of their own, and processes do not
	server   *pgtest.Server
	replaced *strings.Replacer
	running  map[string]*child.Process
}

// standIn is the command docker for the README's blocks. The test starts and ends the services; exec runs a program with a service's
// environment, and logs waits until the service has printed the line in the file until.
const standIn = `#!/bin/sh -eu
[ "$1" != image ] || exec test "$2 $3" = "rm walpost-quickstart"
[ "$1" = compose ]
[ -f "$REPOSITORY/$COMPOSE_FILE" ]
case $2 in
up) exec test "$*" = 'compose up -d --build --wait' ;;
down) exec test "$*" = 'compose down -v' ;;
exec)
	shift 2
	[ "$1" != -T ] || shift
	. "$HOME/$1.env"
	program=${2##*/}
	case $program in
	*.sh) [ "$2" = "/opt/kafka/bin/$program" ] ;;
	*) [ "$2" = "$program" ] ;;
	esac
	shift 2
	exec "$program" "$@"
	;;
logs)
	[ "$3" = --follow ]
	until grep -qF -f "$HOME/until" "$HOME/$4.log"; do sleep 0.05; done
	exec cat "$HOME/$4.log"
	;;
esac
exit 2
`

func newContainers(t *testing.T, project *types.Project) *containers {
	t.Helper()
	home, err := child.NewHome("walpost-compose-", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &containers{project: project, home: home, walpost: entrypoint(t), running: make(map[string]*child.Process)}
	t.Cleanup(func() {
		for name := range c.running {
			if t.Failed() {
				t.Logf("log of %s:\n%s", name, child.Tail(c.log(name)))
			}
		}
		if err := home.Close(); err != nil {
			t.Error(err)
		}
	})
	walpost, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(walpost, home.Path("walpost")), os.WriteFile(home.Path("docker"), []byte(standIn), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := kafkatest.Scripts(t.Context(), home.Dir()); err != nil {
		t.Fatal(err)
	}
	c.server = c.postgres(t, project.Services["postgres"])
	ports, err := child.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	kafka, controller := strconv.Itoa(ports[0]), strconv.Itoa(ports[1])
	c.replaced = strings.NewReplacer(
		"@postgres:5432/", "@"+child.Address(c.server.Port())+"/", "@localhost/", "@"+child.Address(c.server.Port())+"/",
		"kafka:9092", "127.0.0.1:"+kafka, "://:9092", "://127.0.0.1:"+kafka, "/localhost/9092", "/127.0.0.1/"+kafka,
		"://:9093", "://127.0.0.1:"+controller, "localhost:9093", "127.0.0.1:"+controller,
	)
	c.admin = child.Address(ports[2])
	return c
}

// entrypoint is the entry point of walpost's image.
func entrypoint(t *testing.T) (program string) {
	t.Helper()
	stages := ownDockerfile(t)
	for _, c := range stages[len(stages)-1].Commands {
		if c, ok := c.(*instructions.EntrypointCommand); ok {
			program = c.CmdLine[0]
		}
	}
	return program
}

// postgres starts a server with the settings of the service's command. As in the image, everybody but the superuser needs a password.
func (c *containers) postgres(t *testing.T, s types.ServiceConfig) *pgtest.Server {
	t.Helper()
	settings := make(map[string]string)
	for i := 1; i < len(s.Command); i += 2 {
		name, value, ok := strings.Cut(s.Command[i+1], "=")
		if s.Command[i] != "-c" || !ok {
			t.Fatalf("postgres: this test cannot read %q", s.Command)
		}
		settings[name] = value
	}
	server := pgtest.Start(t, pgtest.Options{Settings: settings, HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	if err := server.CreateDatabase(t.Context(), *s.Environment["POSTGRES_DB"]); err != nil {
		t.Fatal(err)
	}
	return server
}

// up does what `docker compose up` does with a service whose dependencies are up.
func (c *containers) up(t *testing.T, s types.ServiceConfig) {
	t.Helper()
	var exports strings.Builder
	for _, line := range c.environment(s) {
		name, value, _ := strings.Cut(line, "=")
		fmt.Fprintf(&exports, "export %s='%s'\n", name, value)
	}
	if _, err := c.home.WriteFile(s.Name+".env", []byte(exports.String())); err != nil {
		t.Fatal(err)
	}
	argv := c.replace(append(slices.Clone([]string(s.Entrypoint)), s.Command...))
	switch {
	case s.Name == "postgres": // runs already
	case strings.HasPrefix(s.Image, "apache/kafka:") && len(argv) == 0:
		c.start(t, s, c.broker(t, s))
	case s.Image == "walpost-quickstart":
		argv = append([]string{c.walpost}, argv...)
		fallthrough
	default:
		if c.ends(s.Name) {
			c.run(t, s, argv)
			return
		}
		c.start(t, s, argv)
	}
	if s.HealthCheck == nil {
		return
	}
	if s.HealthCheck.Test[0] != "CMD" {
		t.Fatalf("%s: this test cannot run the health check %q", s.Name, s.HealthCheck.Test)
	}
	eventually(t, s.Name+" is healthy", func() string {
		if p := c.running[s.Name]; p != nil && !p.Running() {
			t.Fatalf("%s has ended: %v\n%s", s.Name, p.Err(), child.Tail(c.log(s.Name)))
		}
		if out, err := c.command(t.Context(), s, c.replace(s.HealthCheck.Test[1:])).CombinedOutput(); err != nil {
			return fmt.Sprintf("%v: %s\n%s", err, out, child.Tail(c.log(s.Name)))
		}
		return ""
	})
}

// ends reports whether a service waits for the end of this one.
func (c *containers) ends(name string) bool {
	for _, s := range c.project.Services {
		if s.DependsOn[name].Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	return false
}

// broker returns what Kafka's image runs: it formats a folder and starts a broker, with the settings of the environment.
func (c *containers) broker(t *testing.T, s types.ServiceConfig) (argv []string) {
	t.Helper()
	properties := "log.dirs=" + c.home.Path("kafka") + "\n"
	for name, value := range s.Environment {
		key := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "KAFKA_")), "_", ".")
		properties += key + "=" + c.replaced.Replace(*value) + "\n"
	}
	file, err := c.home.WriteFile("server.properties", []byte(properties))
	if err != nil {
		t.Fatal(err)
	}
	id := base64.RawURLEncoding.EncodeToString([]byte("sixteen bytes...")) // as every cluster's id
	c.run(t, s, []string{"kafka-storage.sh", "format", "--cluster-id", id, "--config", file})
	return []string{"kafka-server-start.sh", file}
}

// environment is a service's own.
func (c *containers) environment(s types.ServiceConfig) (env []string) {
	for name, value := range s.Environment {
		env = append(env, name+"="+c.replaced.Replace(*value))
	}
	if s.Image == "walpost-quickstart" {
		env = append(env, "WALPOST_ADMIN_LISTEN="+c.admin)
	}
	slices.Sort(env)
	return env
}

// common is what every process needs besides.
func (c *containers) common() []string {
	return []string{"PATH=" + c.home.Dir() + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + c.home.Dir(), "LC_ALL=C.UTF-8",
		"PGPORT=" + strconv.Itoa(c.server.Port()), "GORACE=halt_on_error=1 atexit_sleep_ms=0"}
}

func (c *containers) replace(words []string) (replaced []string) {
	for _, word := range words {
		replaced = append(replaced, c.replaced.Replace(word))
	}
	return replaced
}

func (c *containers) log(name string) string { return c.home.Path(name + ".log") }

// program returns the path of a program of an image: what lies in the home, else what this machine has.
func (c *containers) program(name string) string {
	file := c.home.Path(filepath.Base(name))
	if _, err := os.Stat(file); err == nil {
		return file
	}
	return filepath.Base(name)
}

// command is a program that ends by itself.
func (c *containers) command(ctx context.Context, s types.ServiceConfig, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.program(argv[0]), argv[1:]...)
	cmd.Dir, cmd.Env = c.home.Dir(), append(c.common(), c.environment(s)...)
	return cmd
}

func (c *containers) run(t *testing.T, s types.ServiceConfig, argv []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := c.command(ctx, s, argv).CombinedOutput(); err != nil {
		t.Fatalf("%s: %q: %v\n%s", s.Name, argv, err, out)
	}
}

func (c *containers) start(t *testing.T, s types.ServiceConfig, argv []string) {
	t.Helper()
	path, err := exec.LookPath(c.program(argv[0]))
	if err != nil {
		t.Fatal(err)
	}
	spec := child.Spec{Path: path, Args: argv[1:], Env: append(c.common(), c.environment(s)...), Log: c.log(s.Name), Death: syscall.SIGKILL}
	if c.running[s.Name], err = c.home.Start(spec); err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
}

// reader follows one of the README's blocks, with the stand-in for docker.
func (c *containers) reader(t *testing.T, b readmeBlock) *reader {
	t.Helper()
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(b.prints) > 0 {
		if _, err := c.home.WriteFile("until", []byte(b.prints[0])); err != nil {
			t.Fatal(err)
		}
	}
	return &reader{home: c.home, env: append(c.common(), "REPOSITORY="+repository), replaced: c.replaced}
}

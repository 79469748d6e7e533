package kafkatest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"walpost/internal/testenv/fetch"
	"walpost/internal/testenv/need"
)

// Version is the version of Kafka to download.
const Version = "4.3.1"

const (
	// The SLF4J binding that Kafka itself ships. Without one, the broker's log is lost.
	log4jVersion = "2.25.4"
	oldestJava   = 17
)

// program is the Java program and the folder of Kafka's jars that run a broker.
type program struct{ java, jars string }

// find returns the program. The error is a [need.Lack].
func find(ctx context.Context) (program, error) {
	lack := &need.Lack{What: "Kafka broker", Ways: []string{
		Variable + "=host:port : a broker without authentication (for example after docker compose -f internal/testenv/compose.yaml up -d)",
		"install Java 17 or newer and Maven (apt-get install openjdk-17-jre-headless maven, brew install openjdk maven): the broker is then fetched into a cache",
	}}
	java, err := findJava(ctx)
	if err != nil {
		lack.Tried = append(lack.Tried, "Java: "+err.Error())
		return program{}, lack
	}
	jars, err := fetch.Folder(ctx, "kafka-"+Version+"-log4j-"+log4jVersion, func(ctx context.Context, dir string) error {
		return fetch.Jars(ctx, dir,
			fetch.Artifact{Group: "org.apache.kafka", Name: "kafka_2.13", Version: Version},
			fetch.Artifact{Group: "org.apache.logging.log4j", Name: "log4j-slf4j-impl", Version: log4jVersion})
	})
	if err != nil {
		lack.Tried = append(lack.Tried, "Maven: "+err.Error())
		return program{}, lack
	}
	return program{java: java, jars: jars}, nil
}

// `openjdk version "17.0.15" 2025-04-15`; Java 8 called itself 1.8.
var javaVersion = regexp.MustCompile(`version "(\d+)`)

// findJava finds a Java that is new enough, in JAVA_HOME or else in PATH.
func findJava(ctx context.Context) (string, error) {
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	path, err := exec.LookPath(java)
	if err != nil {
		return "", err
	}
	// macOS has a java on PATH that only prints that Java is missing.
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run %s -version: %w", path, err)
	}
	match := javaVersion.FindSubmatch(out)
	if match == nil {
		return "", fmt.Errorf("%s -version says %q", path, out)
	}
	if version, _ := strconv.Atoi(string(match[1])); version < oldestJava {
		return "", fmt.Errorf("%s is version %d, Kafka %s needs %d", path, version, Version, oldestJava)
	}
	return path, nil
}

// smallJava has the default options for the Java virtual machine: a small heap, the simplest collector and only the first compiler. A broker
// under test runs for minutes and shares two cores with the tests.
var smallJava = []string{"-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}

// arguments returns Java's arguments for one of Kafka's programs, after the options for the virtual machine.
func (p program) arguments(machine []string, logging, class string, args ...string) []string {
	return append(append(slices.Clone(machine),
		"-Dlog4j2.configurationFile="+logging,
		"-cp", filepath.Join(p.jars, "*"), class,
	), args...)
}

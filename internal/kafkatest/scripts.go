package kafkatest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"walpost/internal/testenv/fetch"
)

// scripts has the classes of Kafka's command line tools, by their names in Kafka's distribution. The distribution has shell scripts; Maven
// has only the classes.
var scripts = map[string]string{
	"kafka-acls.sh":             "org.apache.kafka.tools.AclCommand",
	"kafka-configs.sh":          "kafka.admin.ConfigCommand",
	"kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
	"kafka-server-start.sh":     brokerClass,
	"kafka-storage.sh":          "kafka.tools.StorageTool",
	"kafka-topics.sh":           "org.apache.kafka.tools.TopicCommand",
}

const brokerClass = "kafka.Kafka"

// Scripts writes Kafka's command line tools into a folder, with their names in Kafka's distribution, and downloads what they need. An error
// says what is missing on this machine.
func Scripts(ctx context.Context, dir string) error {
	p, err := find(ctx)
	if err != nil {
		return err
	}
	tools, err := fetch.Folder(ctx, "kafka-tools-"+Version, func(ctx context.Context, dir string) error {
		return fetch.Jars(ctx, dir, fetch.Artifact{Group: "org.apache.kafka", Name: "kafka-tools", Version: Version})
	})
	if err != nil {
		return fmt.Errorf("fetch the tools of Kafka: %w", err)
	}
	p.jars = tools + "/*:" + p.jars // and the broker's jars: some tools need their classes
	for name, class := range scripts {
		settings := "rootLogger.level = OFF\n"
		if class == brokerClass { // its log is the only place that says why it ends
			settings = logging
		}
		file := filepath.Join(dir, name+".log4j2.properties")
		if err := os.WriteFile(file, []byte(settings), 0o644); err != nil {
			return err
		}
		line := append([]string{p.java}, p.arguments(smallJava, file, class)...)
		for i, word := range line {
			line[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		text := "#!/bin/sh\nexec " + strings.Join(line, " ") + " \"$@\"\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	return nil
}

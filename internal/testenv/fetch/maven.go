package fetch

import (
	"archive/zip"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Artifact is the coordinates of a Maven artifact.
type Artifact struct {
	Group   string `xml:"groupId"`
	Name    string `xml:"artifactId"`
	Version string `xml:"version"`
}

// Jars copies the artifacts and their runtime dependencies into dir.
func Jars(ctx context.Context, dir string, artifacts ...Artifact) error {
	return copyJars(ctx, dir, artifacts, "-DincludeScope=runtime")
}

// Jar copies one artifact without its dependencies into dir, and returns its path.
func Jar(ctx context.Context, dir string, artifact Artifact) (string, error) {
	if err := copyJars(ctx, dir, []Artifact{artifact}, "-DexcludeTransitive=true"); err != nil {
		return "", err
	}
	return filepath.Join(dir, artifact.Name+"-"+artifact.Version+".jar"), nil
}

// copyJars lets Maven resolve a project whose only dependencies are the artifacts.
func copyJars(ctx context.Context, dir string, artifacts []Artifact, options ...string) error {
	pom, err := xml.Marshal(struct {
		XMLName  xml.Name   `xml:"http://maven.apache.org/POM/4.0.0 project"`
		Model    string     `xml:"modelVersion"`
		Group    string     `xml:"groupId"`
		Name     string     `xml:"artifactId"`
		Version  string     `xml:"version"`
		Packaged string     `xml:"packaging"`
		Needs    []Artifact `xml:"dependencies>dependency"`
	}{Model: "4.0.0", Group: "walpost", Name: "servers", Version: "1", Packaged: "pom", Needs: artifacts})
	if err != nil {
		return err
	}
	project, err := os.MkdirTemp(filepath.Dir(dir), "project-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(project)
	if err := os.WriteFile(filepath.Join(project, "pom.xml"), pom, 0o644); err != nil {
		return err
	}
	args := append([]string{"--quiet", "--batch-mode", "dependency:copy-dependencies", "-DoutputDirectory=" + dir}, options...)
	_, err = tool(ctx, project, "mvn", args...)
	return err
}

// FromJar copies the first file of a jar whose name ends with suffix to path.
func FromJar(jar, suffix, path string) error {
	archive, err := zip.OpenReader(jar)
	if err != nil {
		return fmt.Errorf("open %s: %w", filepath.Base(jar), err)
	}
	defer archive.Close()
	for _, entry := range archive.File {
		if matched, _ := filepath.Match("*"+suffix, entry.Name); matched {
			return copyEntry(entry, path)
		}
	}
	return fmt.Errorf("open %s: it holds no *%s", filepath.Base(jar), suffix)
}

func copyEntry(entry *zip.File, path string) error {
	from, err := entry.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return err
	}
	return to.Close()
}

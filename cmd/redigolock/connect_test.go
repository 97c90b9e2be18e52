package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A message about them shows nothing of a URL.
func TestBadConnectionFlags(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"-url http://u:hunter2@x":                  "begins with none of",
		"-url redis://u:hunter2@host:port":         "cannot be parsed",
		"-password-file " + empty:                  "the first line is empty",
		"-password-file " + empty + "x":            "no such file",
		"-password-file x -askpass":                "one too many",
		"-cacert x":                                "need -tls",
		"-tls -cacert " + empty:                    "no certificate in",
		"-url rediss://a -url redis://b -insecure": "need -tls",
		"-tls -cert x -key y":                      "-cert and -key",
	} {
		o := call(t, nil, append([]string{"fence", "k"}, strings.Fields(args)...)...)
		o.want(t, exitUsage, want)
		if strings.Contains(o.stderr, "hunter2") {
			t.Errorf("%s: the message shows the password: %s", args, o.stderr)
		}
	}
}

package e2e

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// TestDemo runs the README's first command, but for the build, and holds the README's
// picture of it.
func TestDemo(t *testing.T) {
	needContainers(t)
	// Another program may have the port that the demo's containers know.
	if taken, err := net.Listen("tcp", demoAddress); err == nil {
		defer taken.Close()
	}
	command := exec.Command(buildDriver(t), "demo")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	for _, want := range []string{
		"left app-77.tar.gz on /cache", // by the first job
		"Hello from a container group", // by the second, out of that file
		"app: OK",                      // by the third
		"the job ended as success",
		"3 CreateContainerGroup", "3 DeleteContainerGroup",
		"\n0 container groups left\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the demo does not say %q:\n%s", want, stdout.String())
		}
	}
	checkPicture(t, stdout.String())
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", stderr.String())
	}
}

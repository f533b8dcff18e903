package ecitest_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

func TestForward(t *testing.T) {
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer host.Close()
	addr := host.Listener.Addr().String()
	s := start(t, ecitest.Options{Forward: []string{addr}})
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	get := `exec 3<>/dev/tcp/127.0.0.1/` + port + ` && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && grep -q hello <&3`
	await(t, s, create(t, s, script(get, "Container.1.Command.1", "/bin/bash")), status("Succeeded"))
}

// Two hosts on one port are reached by their names, each as itself.
func TestForwardToNames(t *testing.T) {
	addresses := map[string]string{}
	for _, name := range []string{"git.example.com", "repo.example.com"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
		defer server.Close()
		addresses[name+":80"] = server.Listener.Addr().String()
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addresses[address])
	}
	s := start(t, ecitest.Options{Forward: []string{"git.example.com:80", "repo.example.com:80"}, Dial: dial})
	get := `for host in git repo; do
	exec 3<>/dev/tcp/$host.example.com/80
	printf 'GET / HTTP/1.0\r\n\r\n' >&3
	grep -q $host.example.com <&3 || exit 1
done`
	await(t, s, create(t, s, script(get, "Container.1.Command.1", "/bin/bash")), status("Succeeded"))
}

func TestCheckForwards(t *testing.T) {
	for name, test := range map[string]struct{ address, want string }{
		"loopback":              {"127.0.0.1:8080", ""},
		"loopback of IPv6":      {"[::1]:8080", ""},
		"any port of localhost": {"localhost:1", ""},
		"name":                  {"gitlab.com:443", ""},
		"no port":               {"gitlab.com", "want HOST:PORT"},
		"URL":                   {"https://gitlab.com", `"//gitlab.com" is no port`},
		"port as a word":        {"gitlab.com:https", `"https" is no port`},
		"port 0":                {"gitlab.com:0", `"0" is no port`},
		"another host's number": {"192.0.2.1:443", "name the host instead"},
	} {
		t.Run(name, func(t *testing.T) {
			err := ecitest.CheckForwards([]string{test.address})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

package sandbox

import (
	"os"
	"strings"
	"testing"
)

func TestExec(t *testing.T) {
	g := newTestGroup(t, GroupConfig{Name: "g", Hostname: "h"})
	cfg := shell("echo mine > /tmp/mine; echo up; sleep 1000")
	cfg.Dir, cfg.Env = "/builds", append(cfg.Env, "A=1", "B=2")
	c, log := start(t, g, cfg)
	log.await(t, "up")
	for _, tc := range []struct {
		name, script, want string
		code               int
	}{
		{"same files", "cat /tmp/mine", "mine\n", 0},
		{"parent 0", "while read k v; do [ $k = PPid: ] && echo $v; done < /proc/$$/status; true", "0\n", 0},
		{"working directory and environment", "pwd; echo $A $B $HOME; hostname", "/builds\n1 2 /root\nh\n", 0},
		{"exit code", "exit 42", "", 42},
		{"killed", "kill -KILL $$", "", 137},
		{"umask and stdin", "umask; read x || echo empty", "0022\nempty\n", 0},
		{"no descriptor left open", "exec ls /proc/self/fd", "0\n1\n2\n3\n", 0},
		{"own session", "read _ _ _ _ pgrp sid _ < /proc/$$/stat; [ $sid = $$ ] && echo $(($pgrp - $sid))", "0\n", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if out, code := execOutput(t, c, tc.script); out != tc.want || code != tc.code {
				t.Errorf("%q, %d; want %q, %d", out, code, tc.want, tc.code)
			}
		})
	}
	t.Run("environment laid over", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p, err := c.Exec(ExecConfig{Args: []string{"sh", "-c", "echo $A $B $C"}, Env: []string{"B=x", "C=3"}, Stdout: w})
		_ = w.Close()
		if err != nil {
			t.Fatal(err)
		}
		awaitDone(t, p.Done())
		b := make([]byte, 64)
		if n, _ := r.Read(b); string(b[:n]) != "1 x 3\n" {
			t.Errorf("got %q", b[:n])
		}
	})
	t.Run("no such command", func(t *testing.T) {
		_, err := c.Exec(ExecConfig{Args: []string{"foo"}})
		if err == nil || err.Error() != `exec: "foo": executable file not found in $PATH` {
			t.Errorf("got %v", err)
		}
	})
	t.Run("same rights as the container", func(t *testing.T) {
		const script = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid)' /proc/self/status"
		_, want := run(t, g, shell(script))
		if out, _ := execOutput(t, c, script); out != want {
			t.Errorf("exec has\n%scontainer has\n%s", out, want)
		}
	})
	t.Run("kill", func(t *testing.T) {
		p, err := c.Exec(ExecConfig{Args: []string{"sleep", "1000"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if code, err := p.Wait(); code != 137 || err != nil {
			t.Errorf("%d, %v", code, err)
		}
	})
}

// An exec whose reader has gone must run on: that is what lets a driver detach.
func TestExecOutlivesClosedPipes(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	c, log := start(t, g, shell("mkfifo /tmp/go; echo up; read line < /tmp/go; echo got $line; sleep 1000"))
	log.await(t, "up")
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Exec(ExecConfig{
		Args:  []string{"sh", "-c", "trap '' PIPE; cat >/dev/null; echo nobody reads this; echo still here > /tmp/go"},
		Stdin: inR, Stdout: outW, Stderr: outW,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{inR, outR, outW, inW} {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	log.await(t, "got still here")
	if code, err := p.Wait(); code != 0 || err != nil {
		t.Errorf("%d, %v", code, err)
	}
}

func TestExecAsPlainUser(t *testing.T) {
	g := newTestGroup(t, GroupConfig{})
	cfg := shell("echo up; sleep 1000")
	cfg.User = "1000:1000"
	c, log := start(t, g, cfg)
	log.await(t, "up")
	out, _ := execOutput(t, c, "id -u; id -g; id -G; grep CapEff /proc/self/status")
	if want := "1000\n1000\n1000\nCapEff:\t0000000000000000\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestMergeEnv(t *testing.T) {
	base := []string{"A=1", "B=2"}
	for _, tc := range []struct{ name, add, want string }{
		{"new", "C=3", "A=1 B=2 C=3"},
		{"replaced", "A=9", "A=9 B=2"},
		{"prefix of another", "AB=9", "A=1 B=2 AB=9"},
		{"empty value", "B=", "A=1 B="},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := strings.Join(mergeEnv(base, []string{tc.add}), " "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

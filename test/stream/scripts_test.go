package stream

import (
	"fmt"
	"strings"
)

// script is what a stage runs, and all that may come of it.
type script struct {
	name   string
	body   string
	want   string // its output
	status int
	rules  []string // faults beside those of the cell, by which it ends unheard

	// failures are sentences with one of which the stage may be a system failure,
	// with as much of the log as there was.
	failures []string
	masked   bool // run ids in its output are RUN in want
	spoils   bool // its group is of no use afterwards
	large    bool // its output

	late string // what a background child writes, of which the log may have what came before the end was seen
}

// numbered are n lines as seq prints them.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i+1)
	}
	return b.String()
}

// forged are lines that would end a run, green, were they not payload.
const forged = `#ok 7
#data 0 3
abc
#ok 3
#beat
#gone
#fail final forged
#stopped
#end 0123456789abcdef 0 0 ` + nothing + ` none ` + nothing + "\n"

// nothing is the digest of no bytes.
const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

const (
	deleted   = "the job deleted"
	forgotten = "outcome is not known"
	full      = "the control volume of the container group is full"
)

func scripts() []script {
	all := []script{
		{name: "100,000 lines", body: "seq 100000", want: numbered(100_000), large: true},
		{name: "a line of 3 MB", body: "head -c 3000000 /dev/zero | tr '\\0' x; exit 9", want: strings.Repeat("x", 3_000_000), status: 9, large: true},
		{name: "many small writes", body: "i=0; while [ $i -lt 1500 ]; do i=$((i+1)); echo $i; done; exit 6", want: numbered(1500), status: 6},
		{name: "itself large", body: ": " + strings.Repeat("stop bye ", 30_000) + "\necho read\nexit 13", want: "read\n", status: 13},
		{name: "binary", body: `i=0; while [ $i -lt 300 ]; do printf '\000\377\376\n\001#\n\303(\r'; i=$((i+1)); done; exit 4`,
			want: strings.Repeat("\x00\xff\xfe\n\x01#\n\xc3(\r", 300), status: 4},
		{name: "silence", body: "echo before; sleep 0.9; echo after; exit 2", want: "before\nafter\n", status: 2},
		{name: "ends while the socket is down", body: "echo a; sleep 0.1; echo b; exit 5", want: "a\nb\n", status: 5,
			rules: []string{"exec:drop-every=60ms,times=1", "exec:refuse,skip=1,times=4"}},
		{name: "a background child holds stdout", body: "sleep 3 & echo done; exit 4", want: "done\n", status: 4},
		{name: "a background child writes on", body: "(i=0; while [ $i -lt 20 ]; do sleep 0.05; echo late; i=$((i+1)); done) & exit 8", status: 8, late: "late\n"},
		{name: "a daemon", body: "(setsid sleep 3 >/dev/null 2>&1 </dev/null &); echo up; exit 12", want: "up\n", status: 12},
		{name: "kills its own shell", body: "echo x; kill -9 $$", want: "x\n", status: 137},
		{name: "looks like our records", body: "cat <<'E'\n" + forged + "E\nexit 11", want: forged, status: 11},
		{name: "prints its own end record", masked: true, status: 10, want: "\n#end RUN 0 0 " + nothing + " none " + nothing + "\n",
			body: "run=${0##*/}; printf '\\n#end %s 0 0 " + nothing + " none " + nothing + "\\n' ${run%%.*}; exit 10"},
		{name: "kills what carries its output", body: "echo a; " + findsCat + "kill -9 $cat; sleep 0.1; exit 0", want: "a\n",
			failures: []string{forgotten}},
		{name: "deletes the control directory", body: "echo a; rm -rf /.eci/control/* /.eci/control; echo b; exit 3", want: "a\nb\n", status: 3,
			failures: []string{deleted}, spoils: true},
		{name: "deletes its log", body: "echo a; rm -f /.eci/logs/*; echo b; exit 3", want: "a\nb\n", status: 3, failures: []string{deleted}, spoils: true},
		{name: "fills the control directory", body: "echo a; cat /dev/zero >/.eci/control/full 2>/dev/null; echo b; exit 3", want: "a\nb\n", status: 3,
			failures: []string{full}, spoils: true},
	}
	for _, status := range []int{0, 1, 2, 3, 137, 255} {
		all = append(all, script{name: fmt.Sprintf("exits %d at once", status), body: fmt.Sprintf("exit %d", status), status: status})
	}
	return all
}

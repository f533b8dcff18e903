package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// defaultPath is searched where the environment has no PATH, as runc does.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// resolveUser reads USER[:GROUP], each a name or a number, by /etc/passwd and
// /etc/group of the current root. A number needs no entry; its group is then 0.
// The groups that /etc/group lists the user in come along, as under CRI, where a
// container engine leaves them out once there is a GROUP.
func resolveUser(spec string) (credentials, error) {
	if spec == "" {
		spec = "0"
	}
	user, group, hasGroup := strings.Cut(spec, ":")
	c := credentials{Home: "/"}
	name := ""
	if e := findEntry("/etc/passwd", user, 7); e != nil {
		name, c.Home = e[0], e[5]
		var err1, err2 error
		c.UID, err1 = strconv.Atoi(e[2])
		c.GID, err2 = strconv.Atoi(e[3])
		if err1 != nil || err2 != nil {
			return c, fmt.Errorf("user %q: bad entry in /etc/passwd", user)
		}
	} else if id, err := parseID(user); err == nil {
		c.UID = id
	} else {
		return c, fmt.Errorf("user %q is not in the image's /etc/passwd", user)
	}
	if c.Home == "" {
		c.Home = "/"
	}
	c.Groups = supplementaryGroups(name)
	if !hasGroup {
		return c, nil
	}
	id, err := parseID(group)
	if err != nil {
		e := findEntry("/etc/group", group, 4)
		if e == nil {
			return c, fmt.Errorf("group %q is not in the image's /etc/group", group)
		}
		if id, err = parseID(e[2]); err != nil {
			return c, fmt.Errorf("group %q: bad entry in /etc/group", group)
		}
	}
	c.GID = id
	return c, nil
}

func parseID(s string) (int, error) {
	id, err := strconv.ParseUint(s, 10, 31)
	return int(id), err
}

// findEntry returns the fields of the line whose name or number is key, or nil.
func findEntry(file, key string, fields int) []string {
	var found []string
	eachEntry(file, fields, func(e []string) bool {
		if e[0] == key || e[2] == key {
			found = e
		}
		return found == nil
	})
	return found
}

func supplementaryGroups(user string) []int {
	var ids []int
	eachEntry("/etc/group", 4, func(e []string) bool {
		if user != "" && slices.Contains(strings.Split(e[3], ","), user) {
			if id, err := parseID(e[2]); err == nil {
				ids = append(ids, id)
			}
		}
		return true
	})
	return ids
}

func eachEntry(file string, fields int, f func([]string) bool) {
	r, err := os.Open(file)
	if err != nil {
		return // an image without the file has no names
	}
	defer r.Close()
	for sc := bufio.NewScanner(r); sc.Scan(); {
		e := strings.Split(sc.Text(), ":")
		if len(e) >= fields && !f(e) {
			return
		}
	}
}

// lookPath finds a command along PATH of env, in the calling thread's root and
// working directory. Its errors are those of os/exec, which every user knows.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if err := executable(name); err != nil {
			return "", &exec.Error{Name: name, Err: err}
		}
		return name, nil
	}
	path := defaultPath
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v // the last one counts, as it does for execve's callers
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		if p := dir + "/" + name; executable(p) == nil {
			return p, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

func executable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	if st.Mode&0o111 == 0 {
		return unix.EACCES
	}
	return nil
}

package config

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// What ECI takes of a container's command line (sources.md: create).
const (
	commandMost = 20  // words of Command, which is an image's entrypoint
	argsMost    = 10  // words of Arg
	wordMost    = 256 // characters of a word
)

// CheckWords says why ECI can't take a container's entrypoint and command. An empty word
// is no parameter, so that it would be left out without a word.
func CheckWords(entrypoint, command []string) error {
	for _, line := range []struct {
		key   string
		words []string
		most  int
	}{{"entrypoint", entrypoint, commandMost}, {"command", command, argsMost}} {
		if n := len(line.words); n > line.most {
			return fmt.Errorf("its %s has %d words, and ECI takes %d: put them into a script in the image", line.key, n, line.most)
		}
		for i, word := range line.words {
			if word == "" {
				return fmt.Errorf(`word %d of its %s is empty, and ECI takes none that is: let a shell put it in, as in ["sh", "-c", "exec redis-server --save ''"]`, i+1, line.key)
			}
			if n := utf8.RuneCountInString(word); n > wordMost {
				return fmt.Errorf("word %d of its %s has %d characters, and ECI takes %d: put the text into a script in the image", i+1, line.key, n, wordMost)
			}
		}
	}
	return nil
}

// ServiceCommand is what ECI is sent for a service's entrypoint and command, or why it
// can't take them. Where the entrypoint is Cleared, the command stands alone.
func ServiceCommand(entrypoint, command []string) (sent, args []string, err error) {
	if Cleared(entrypoint) {
		if len(command) == 0 {
			return nil, nil, errors.New("it has an empty entrypoint and no command: name the command that it is to run")
		}
		entrypoint, command = command, nil
	}
	return entrypoint, command, CheckWords(entrypoint, command)
}

// Cleared tells whether an entrypoint is [""], by which an author takes the image's own away.
func Cleared(entrypoint []string) bool { return len(entrypoint) == 1 && entrypoint[0] == "" }

package stages

import (
	"fmt"
	"unicode/utf8"
)

// What ECI takes of a container's command line (sources.md: create).
const (
	commandMost = 20  // words of Command, which is an image's entrypoint
	argsMost    = 10  // words of Arg
	wordMost    = 256 // characters of a word
)

// checkWords says why ECI can't take an entrypoint and a command; what names the image
// that they are of.
func checkWords(what string, entrypoint, command []string) error {
	for _, line := range []struct {
		key   string
		words []string
		most  int
	}{{"entrypoint", entrypoint, commandMost}, {"command", command, argsMost}} {
		if n := len(line.words); n > line.most {
			return fmt.Errorf("%s: its %s has %d words, and ECI takes %d: put them into a script in the image", what, line.key, n, line.most)
		}
		for i, word := range line.words {
			if word == "" {
				return fmt.Errorf(`%s: word %d of its %s is empty, and ECI takes none that is: let a shell put it in, as in ["sh", "-c", "exec redis-server --save ''"]`, what, i+1, line.key)
			}
			if n := utf8.RuneCountInString(word); n > wordMost {
				return fmt.Errorf("%s: word %d of its %s has %d characters, and ECI takes %d: put the text into a script in the image", what, i+1, line.key, n, wordMost)
			}
		}
	}
	return nil
}

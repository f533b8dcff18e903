package messages

import (
	"slices"
	"testing"
)

// TestFinds: messages are found however they are put together.
func TestFinds(t *testing.T) {
	const source = `package x
import "a b"
const sentence = "a sentence of its own"
type t struct { f int ` + "`json:\"not a message\"`" + ` }
func f() error {
	if g() { return errors.New("the group " + id + " is gone" + because("for good reason")) }
	word("word")
	return fmt.Errorf("reading %q of %[2]s: %w", a, b, err)
}
var table = []row{{is: "a row of a table"}}
`
	p, err := inSource("x.go", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range p {
		got = append(got, m.full)
	}
	want := []string{"a sentence of its own", "the group … is gone…", "for good reason", "reading … of …: …", "a row of a table"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	unexplained := message{text: "a sentence that no document has", file: "pkg/stages/x.go", in: []string{"fmt.Errorf"}}
	_, _, byHands := read(t)
	if place(unexplained) != byHand || holds(byHands, unexplained) || holds(elsewhere(t), unexplained) {
		t.Error("a message that no document has is taken for explained")
	}
}

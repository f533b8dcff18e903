package remote

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// mostPieces is how many execs may carry one script.
const mostPieces = 64

// send sends the script in pieces, but for those that have arrived before. The exec with the
// last piece also starts the script; send returns what its answer held.
func (x *syncStream) send(ctx context.Context) (seen, error) {
	var script []byte
	select {
	case <-ctx.Done():
		return seen{}, ctx.Err()
	case script = <-x.whole:
	}
	l := x.learned()
	digest := sha256.Sum256(script)
	start := []string{"sh", scriptPath, "sync", "attach", x.run, randomHex(4), x.role, x.shell, x.nonce,
		fmt.Sprint(len(script) - len(x.nonce) - 1), fmt.Sprint(l.most), fmt.Sprint(l.hold.Milliseconds()), fmt.Sprint(mostPieces), hex.EncodeToString(digest[:])}
	put := []string{"sh", scriptPath, "sync", "put", x.run, randomHex(4), fmt.Sprint(mostPieces)}
	packed, err := pack(script)
	if err != nil {
		return seen{}, err
	}
	first, last := x.Limits.room(put), x.Limits.room(start)
	pieces := split(packed, first, last)
	if len(pieces) > mostPieces {
		text := fmt.Sprintf("the script is too large to be sent without a WebSocket: packed it has %d KiB, and %d Sync execs carry %d KiB; "+
			"let this host reach the WebSocket host of ECI, or keep long texts in files of the repository, not in the script or in variables",
			len(packed)>>10, mostPieces, ((mostPieces-1)*first+last)>>10)
		_, err := fmt.Fprintf(x.out, "#fail final %s\n", text)
		return seen{last: true}, err
	}
	if l.run != x.run {
		l.sent = 0
	}
	for n := l.sent; n < len(pieces)-1; n++ {
		if x.hurried() {
			return seen{}, errHurried
		}
		put[5], put[6] = randomHex(4), fmt.Sprint(n+1)
		if seen, err := x.listen(ctx, x.Limits.words(put, pieces[n]), l); err != nil || seen.last {
			return seen, err
		}
		x.learning(func(l *learned) { l.run, l.sent = x.run, n+1 })
	}
	start[12] = fmt.Sprint(len(pieces))
	return x.listen(ctx, x.Limits.words(start, pieces[len(pieces)-1]), l)
}

// pack is a script as text, gzip in base64, which the group unpacks. The same script gives
// the same text, so that pieces sent by different execs fit together.
func pack(script []byte) (string, error) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(script)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return "", fmt.Errorf("packing the script: %w", err)
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes()), nil
}

// split cuts text into pieces of first bytes at most, the last of last bytes at most.
func split(text string, first, last int) []string {
	var pieces []string
	for len(text) > last {
		n := min(first, len(text)-1)
		pieces = append(pieces, text[:n])
		text = text[n:]
	}
	return append(pieces, text)
}

// room is how many bytes of base64 fit behind the words of a command, as further words.
func (l CommandLimits) room(command []string) int {
	used, _ := json.Marshal(command) // words of ours have nothing that could fail
	words, left := l.Words-len(command), l.Bytes-len(used)
	room := 0
	for ; words > 0 && left > len(`,""`); words-- {
		n := min(l.WordBytes, left-len(`,""`))
		room += n
		left -= n + len(`,""`)
	}
	return room
}

// words is a command with text behind it, in words of the allowed length.
func (l CommandLimits) words(command []string, text string) []string {
	words := append([]string{}, command...)
	for len(text) > 0 {
		n := min(l.WordBytes, len(text))
		words, text = append(words, text[:n]), text[n:]
	}
	return words
}

// errCut means that an answer did not come whole.
var errCut = errors.New("the answer of the exec was cut short")

// openEnvelope takes the records out of an exec's output, as answer in eci-remote-sync.sh
// has put them in. It fails with errCut where the end is missing, with errProtocol where
// anything else is wrong. Whether the output comes with its last newline is not documented.
func openEnvelope(output string) ([]byte, error) {
	header, rest, _ := strings.Cut(output, "\n")
	var length int
	var digest string
	if _, err := fmt.Sscanf(header, "#sync %d %s", &length, &digest); err != nil {
		return nil, fmt.Errorf("%w: %q", errProtocol, clip([]byte(output)))
	}
	text, found := strings.CutSuffix(strings.TrimRight(rest, "\r\n"), "\n#done")
	if !found {
		return nil, fmt.Errorf("%w: %d bytes arrived, %d were sent", errCut, len(rest), length)
	}
	if sum := sha256.Sum256([]byte(text)); len(text) != length || hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("%w: the digest of %d bytes disagrees", errProtocol, len(text))
	}
	records, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	return records, nil
}

package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const someDigest = "d69f77e280187ed98a8d86e25d9f931b36ac01a095f194c34a35d2d36145be36"

func TestDecoderReadsRecords(t *testing.T) {
	tests := []struct {
		name  string
		input string
		want  record
	}{
		{"hello", "#hello r1 e1\n", record{kind: kindHello, run: "r1", exec: "e1", role: "e1"}},
		{"up", "#up crc\n", record{kind: kindUp, sums: "crc"}},
		{"data", "#data 7 3\na\x00\xff\n#ok 10\n", record{kind: kindData, offset: 7, length: 3, payload: []byte("a\x00\xff")}},
		{"data that looks like records", "#data 0 8\n#end\n#ok\n#ok 8\n", record{kind: kindData, length: 8, payload: []byte("#end\n#ok")}},
		{"end", "#end r1 3 49 " + someDigest + " none " + someDigest + "\n", record{kind: kindEnd, run: "r1", status: "3", length: 49, digest: someDigest, script: someDigest}},
		{"end with the other digests", "#end r1 0 9 930766865 none 4294967295\n", record{kind: kindEnd, run: "r1", status: "0", length: 9, digest: "930766865", script: "4294967295"}},
		{"end by the kernel", "#end r1 137 0 " + someDigest + " oom " + someDigest + "\n", record{kind: kindEnd, run: "r1", status: "137", digest: someDigest, script: someDigest, oom: true}},
		{"final failure", "#fail final the disk is full\n", record{kind: kindFail, final: true, text: "the disk is full"}},
		{"failure", "#fail again damaged\n", record{kind: kindFail, text: "damaged"}},
		{"left", "#left 2\n", record{kind: kindLeft, length: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDecoder(iotest.OneByteReader(strings.NewReader(tt.input)))
			got, err := d.next()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(record{})); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if _, err := d.next(); !errors.Is(err, io.EOF) {
				t.Errorf("behind the record: %v, want EOF", err)
			}
		})
	}
}

func TestDecoderRefuses(t *testing.T) {
	tests := []struct {
		name, input string
		want        error
	}{
		{"a shell's complaint", "sh: can't open '/.eci/remote/eci-remote'\n", errProtocol},
		{"unknown record", "#what\n", errProtocol},
		{"missing words", "#data 1\n", errProtocol},
		{"negative offset", "#data -1 3\nabc\n#ok 2\n", errProtocol},
		{"empty data", "#data 0 0\n\n#ok 0\n", errProtocol},
		{"data above 4 MiB", "#data 0 4194305\n", errProtocol},
		{"up without a kind of digest", "#up\n", errProtocol},
		{"up with one that is not known", "#up md5\n", errProtocol},
		{"a byte lost in the payload", "#data 0 3\nab\n#ok 3\n#beat\n", errProtocol},
		{"a byte doubled in the payload", "#data 0 3\nabbc\n#ok 3\n", errProtocol},
		{"trailer of another record", "#data 0 3\nabc\n#ok 4\n", errProtocol},
		{"short digest", "#end r1 0 0 abc none " + someDigest + "\n", errProtocol},
		{"a digest above 32 bits", "#end r1 0 0 4294967296 none " + someDigest + "\n", errProtocol},
		{"a word too many in end", "#end r1 0 0 " + someDigest + " none " + someDigest + " x\n", errProtocol},
		{"endless line", "#" + strings.Repeat("x", 2*maxHeader), errProtocol},
		{"cut in the header", "#data 0", io.ErrUnexpectedEOF},
		{"cut in the payload", "#data 0 3\nab", io.ErrUnexpectedEOF},
		{"cut in the trailer", "#data 0 3\nabc\n#o", io.ErrUnexpectedEOF},
		{"nothing", "", io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if rec, err := newDecoder(strings.NewReader(tt.input)).next(); !errors.Is(err, tt.want) {
				t.Errorf("got record %+v, error %v, want %v", rec, err, tt.want)
			}
		})
	}
}

// FuzzDecoder holds what the stream promises: whatever arrives, in whatever pieces, only
// payload that stands between a whole header and its own trailer comes out. Its corpus
// is in testdata/fuzz/FuzzDecoder.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("#hello r e\n#up sha256\n#data 0 3\nabc\n#ok 3\n#beat\n#end r 0 3 " + someDigest + " none " + someDigest + "\n"))
	f.Add([]byte("#data 0 3\nab\n#ok 3\n"))
	f.Add([]byte("#fail final x\n#gone\n#ask\n#stopped\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		records, err := decodeAll(bytes.NewReader(input))
		for _, rec := range records {
			whole := fmt.Sprintf("\n%s\n#ok %d\n", rec.payload, rec.offset+rec.length)
			if rec.kind == kindData && (int64(len(rec.payload)) != rec.length || !bytes.Contains(input, []byte(whole))) {
				t.Fatalf("record %+v is not in the input", rec)
			}
		}
		inPieces, errInPieces := decodeAll(iotest.OneByteReader(bytes.NewReader(input)))
		if diff := cmp.Diff(records, inPieces, cmp.AllowUnexported(record{})); diff != "" {
			t.Errorf("in pieces there are others: -whole +pieces\n%s", diff)
		}
		if errors.Is(err, io.EOF) != errors.Is(errInPieces, io.EOF) || errors.Is(err, errProtocol) != errors.Is(errInPieces, errProtocol) {
			t.Errorf("in pieces it ends with %v, whole with %v", errInPieces, err)
		}
		if end := len(input); errors.Is(err, io.EOF) && end > 0 && input[end-1] != '\n' {
			t.Errorf("an end in the middle of a record looks like one between two")
		}
	})
}

// decodeAll reads records to the first error.
func decodeAll(r io.Reader) (records []record, err error) {
	for d := newDecoder(r); ; {
		rec, err := d.next()
		if err != nil {
			return records, err
		}
		rec.payload = bytes.Clone(rec.payload)
		records = append(records, rec)
	}
}

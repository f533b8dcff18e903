package ecitest

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// subprotocols are those that a handshake may agree on.
func (s *Server) subprotocols() []string {
	switch p := s.opts.Switches.ExecSubprotocol; p {
	case SubprotocolV4, SubprotocolV5:
		return []string{p}
	}
	return nil
}

// status is what channel 3 says of a command's end, nil for nothing: a sentence
// where Switches.ExecErrorChannel asks for it, or an object of Kubernetes in the
// subprotocols that have it.
func (k *socket) status(code int, err error) []byte {
	failed := code != 0 || err != nil
	sentence := fmt.Sprintf("command terminated with non-zero exit code: exit status %d", code)
	if k.protocol == "" {
		if failed && k.s.opts.Switches.ExecErrorChannel {
			return []byte(sentence)
		}
		return nil
	}
	status := map[string]any{"metadata": map[string]any{}, "status": "Success"}
	if failed {
		status["status"], status["message"], status["reason"] = "Failure", sentence, "NonZeroExitCode"
		status["details"] = map[string]any{"causes": []any{map[string]any{"reason": "ExitCode", "message": strconv.Itoa(code)}}}
	}
	text, _ := json.Marshal(status) // of strings alone
	return text
}

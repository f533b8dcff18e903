package ecitest

import (
	"crypto/sha256"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// outcome is what a client token stands for.
type outcome struct {
	params  [sha256.Size]byte
	at      time.Time
	done    chan struct{} // closed when the call has its answer or refusal
	answer  map[string]any
	refusal *apiError
}

// once runs do unless a call of this action with the same client token came
// before: the same parameters then get the same answer, even when what it made
// is gone, other parameters IdempotentParameterMismatch. A token is used up by
// success and by a refusal for lack of capacity ("use a new token"); it stays
// free where the parameters were wrong and after a dry run.
func (s *Server) once(name string, p *params, do func() (map[string]any, *apiError)) (map[string]any, *apiError) {
	token := p.clientToken()
	if p.err != nil || token == "" || p.boolean("DryRun", false) {
		return do()
	}
	key := strings.Join([]string{name, p.str("RegionId"), token}, " ")
	digest := paramsDigest(p.v)
	s.mu.Lock()
	first, ok := s.tokens[key]
	if lifetime := s.opts.Switches.ClientTokenLifetime; ok && lifetime > 0 && time.Since(first.at) > lifetime {
		ok = false
	}
	if ok {
		s.mu.Unlock()
		return first.again(p, digest)
	}
	o := &outcome{params: digest, at: time.Now(), done: make(chan struct{})}
	s.tokens[key] = o
	s.mu.Unlock()
	o.answer, o.refusal = do()
	if o.refusal != nil && (!o.refusal.lacksCapacity() || s.opts.Switches.ClientTokenFreedByRefusal) {
		s.mu.Lock()
		if s.tokens[key] == o {
			delete(s.tokens, key)
		}
		s.mu.Unlock()
	}
	close(o.done)
	return maps.Clone(o.answer), o.refusal
}

// again answers a later call with the token; the first may still be running.
func (o *outcome) again(p *params, digest [sha256.Size]byte) (map[string]any, *apiError) {
	if o.params != digest {
		return nil, invalid("IdempotentParameterMismatch", "The specified client token was used with other parameters.")
	}
	select {
	case <-o.done:
		return maps.Clone(o.answer), o.refusal
	case <-p.ctx.Done():
		return nil, &apiError{http.StatusServiceUnavailable, "ServiceUnavailable", "the caller has left"}
	}
}

// paramsDigest is over all that the caller decides, not what each attempt signs anew.
func paramsDigest(v url.Values) [sha256.Size]byte {
	own := url.Values{}
	for name, values := range v {
		if !slices.Contains(strings.Fields(commonParams), name) {
			own[name] = values
		}
	}
	return sha256.Sum256([]byte(own.Encode()))
}

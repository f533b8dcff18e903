package ecitest

import (
	"fmt"
	"net/http"
	"time"
)

// bounded holds requests to Switches.MaxURL and MaxBody, as a gateway before the
// API would. The action of a request that it refuses is known from its header.
func (s *Server) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var refusal *apiError
		if n := s.opts.Switches.MaxURL; n > 0 && len(r.RequestURI) > n {
			refusal = &apiError{http.StatusRequestURITooLong, "RequestURITooLong", fmt.Sprintf("the URL has more than %d bytes", n)}
		}
		if n := s.opts.Switches.MaxBody; n > 0 {
			if r.ContentLength > int64(n) {
				refusal = &apiError{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", fmt.Sprintf("the body has more than %d bytes", n)}
			}
			r.Body = http.MaxBytesReader(w, r.Body, int64(n)) // where no length is told
		}
		if refusal != nil {
			call := Call{Time: time.Now(), RequestID: newRequestID(), Action: r.Header.Get("x-acs-action")}
			s.refuse(w, r, &call, refusal)
			return
		}
		next.ServeHTTP(w, r)
	})
}

package ecitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// execSync runs the command without stdin and answers with stdout and stderr
// together. Whoever stops waiting closes the command's output, as at a disconnect.
func (s *Server) execSync(ctx context.Context, x *execSession) (map[string]any, *apiError) {
	x.stdin = false
	pr, err := x.startMerged()
	if err != nil {
		return nil, &apiError{http.StatusInternalServerError, "InternalError", err.Error()}
	}
	defer pr.closePipes()
	if limit := s.opts.Switches.ExecSyncLimit; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	stop := context.AfterFunc(ctx, pr.closePipes)
	defer stop()
	out, err := io.ReadAll(io.LimitReader(pr.stdout, int64(s.opts.Switches.ExecSyncBytes)))
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, &apiError{http.StatusRequestTimeout, "RequestTimeout", "Request timed out."}
	case err != nil:
		return nil, &apiError{http.StatusInternalServerError, "InternalError", fmt.Sprintf("read output: %v", err)}
	}
	if code := s.opts.Switches.ExecSyncExitError; code != "" {
		pr.closePipes() // what is left of its output is not waited for
		if exit, err := pr.Wait(); exit != 0 || err != nil {
			return nil, &apiError{statusOf(code), code, fmt.Sprintf("command terminated with exit code %d", exit)}
		}
	}
	return map[string]any{"SyncResponse": string(out)}, nil
}

package coordinator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	apiPrefix = "/api/v4"
	// traceInterval, in seconds, is how often the runner is asked to send its
	// trace; the default of 3 makes every test wait longer for no gain.
	traceInterval = "1"
	maxBody       = 256 << 20
	objectsPath   = "/objects/" // of what stands for GitLab's object storage
	signature     = "of-the-coordinator"
)

// ServeHTTP answers the calls that a runner makes; all others get 404.
func (c *Coordinator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	c.mux().ServeHTTP(w, r)
}

func (c *Coordinator) mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+apiPrefix+"/runners/verify", c.verifyRunner)
	mux.HandleFunc("POST "+apiPrefix+"/jobs/request", c.requestJob)
	mux.HandleFunc("PATCH "+apiPrefix+"/jobs/{id}/trace", c.withJob(c.patchTrace))
	mux.HandleFunc("PUT "+apiPrefix+"/jobs/{id}", c.withJob(c.updateJob))
	mux.HandleFunc("POST "+apiPrefix+"/jobs/{id}/artifacts", c.withJob(c.uploadArtifacts))
	mux.HandleFunc("GET "+apiPrefix+"/jobs/{id}/artifacts", c.withJob(c.downloadArtifacts))
	mux.HandleFunc("GET "+apiPrefix+objectsPath+"{id}", c.downloadObject)
	return mux
}

// withJob finds the job of the path and checks its token, which the runner must
// send with each call about it. The handler runs without the lock.
func (c *Coordinator) withJob(handle func(http.ResponseWriter, *http.Request, *job)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		if err != nil {
			http.Error(w, "bad job id", http.StatusNotFound)
			return
		}
		c.mu.Lock()
		j := c.jobs[id]
		c.mu.Unlock()
		switch {
		case j == nil:
			http.Error(w, "no such job", http.StatusNotFound)
		case r.Header.Get("JOB-TOKEN") != j.spec.Token:
			http.Error(w, "wrong job token", http.StatusForbidden)
		default:
			handle(w, r, j)
		}
	}
}

func (c *Coordinator) verifyRunner(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Token == "" {
		http.Error(w, "no token", http.StatusForbidden)
		return
	}
	writeJSON(w, http.StatusOK, mustJSON(map[string]any{"id": 1, "token": request.Token}))
}

func (c *Coordinator) requestJob(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.take()
	if j == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body := mustJSON(j.spec.response(baseURL(r), c.dependencies(j)))
	writeJSON(w, http.StatusCreated, body)
}

// baseURL is the coordinator's URL as a client reached it.
func baseURL(r *http.Request) *url.URL {
	base := &url.URL{Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		base.Scheme = "https"
	}
	return base
}

// patchTrace appends to the trace. A range that does not start at its end, or
// whose length is not the body's, is refused with the offset to go on from.
func (c *Coordinator) patchTrace(w http.ResponseWriter, r *http.Request, j *job) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	first, last, err := parseRange(r.Header.Get("Content-Range"))
	code := http.StatusAccepted
	switch {
	case err != nil:
		j.problem("%w", err)
		code = http.StatusBadRequest
	case last-first+1 != len(body):
		j.problem("trace range %d-%d with %d bytes", first, last, len(body))
		code = http.StatusBadRequest
	case first != len(j.trace):
		code = http.StatusRequestedRangeNotSatisfiable
	default:
		j.trace = append(j.trace, body...)
		j.applyRules()
	}
	w.Header().Set("Range", fmt.Sprintf("0-%d", len(j.trace)))
	w.Header().Set("X-GitLab-Trace-Update-Interval", traceInterval)
	j.tellStatus(w)
	w.WriteHeader(code)
}

// parseRange reads "first-last", both inclusive.
func parseRange(header string) (first, last int, err error) {
	a, b, ok := strings.Cut(header, "-")
	if ok {
		if first, err = strconv.Atoi(a); err == nil {
			last, err = strconv.Atoi(b)
		}
	}
	if !ok || err != nil || first < 0 || last < first {
		return 0, 0, fmt.Errorf("bad Content-Range %q", header)
	}
	return first, last, nil
}

// tellStatus sets the Job-Status header. An aborted job ends with that: the
// runner reports nothing afterwards.
func (j *job) tellStatus(w http.ResponseWriter) {
	w.Header().Set("Job-Status", j.status)
	if j.status == statusCanceled {
		j.finish(Result{State: statusCanceled})
	}
}

// update is the body of PUT jobs/:id.
type update struct {
	State         string `json:"state"`
	FailureReason string `json:"failure_reason"`
	ExitCode      *int   `json:"exit_code"`
	Output        struct {
		Checksum string `json:"checksum"` // "crc32:" and eight hex digits
		Bytesize int    `json:"bytesize"`
	} `json:"output"`
}

func (c *Coordinator) updateJob(w http.ResponseWriter, r *http.Request, j *job) {
	var u update
	if err := json.NewDecoder(r.Body).Decode(&u); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	j.tellStatus(w)
	if u.State != "success" && u.State != "failed" {
		writeJSON(w, http.StatusOK, []byte(strconv.Quote(j.status)))
		return
	}
	// GitLab takes such a trace after some retries and marks it; a test must
	// not pass on it. Of an aborted job the rest is not sent.
	sum := fmt.Sprintf("crc32:%08x", crc32.ChecksumIEEE(j.trace))
	if j.status != statusCanceled && (u.Output.Checksum != sum || u.Output.Bytesize != len(j.trace)) {
		j.problem("runner reports a trace of %d bytes with %s, received were %d with %s",
			u.Output.Bytesize, u.Output.Checksum, len(j.trace), sum)
	}
	result := Result{State: u.State, FailureReason: u.FailureReason}
	if u.ExitCode != nil {
		result.ExitCode, result.HasExitCode = *u.ExitCode, true
	}
	j.reports = append(j.reports, result)
	c.retry(j, result) // first: who waits for the end may ask for it
	j.finish(result)
	writeJSON(w, http.StatusOK, []byte(`"`+u.State+`"`))
}

func (c *Coordinator) uploadArtifacts(w http.ResponseWriter, r *http.Request, j *job) {
	file, header, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	j.artifacts = append(j.artifacts, Artifact{
		Type: r.FormValue("artifact_type"), Format: r.FormValue("artifact_format"),
		Filename: header.Filename, ExpireIn: r.FormValue("expire_in"), Content: content,
	})
	writeJSON(w, http.StatusCreated, []byte("{}"))
}

// downloadArtifacts sends the archive of a job, or to where it lies: GitLab answers
// with such a URL, good for itself and of another host, where artifacts are in object
// storage and the runner asks for it.
func (c *Coordinator) downloadArtifacts(w http.ResponseWriter, r *http.Request, j *job) {
	if r.URL.Query().Get("direct_download") == "true" {
		http.Redirect(w, r, fmt.Sprintf("%s%s%s%d?signature=%s", baseURL(r), apiPrefix, objectsPath, j.spec.ID, signature), http.StatusFound)
		return
	}
	c.sendArchive(w, r, j)
}

// downloadObject is the object storage.
func (c *Coordinator) downloadObject(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	c.mu.Lock()
	j := c.jobs[id]
	c.mu.Unlock()
	if err != nil || j == nil || r.URL.Query().Get("signature") != signature {
		http.Error(w, "no such object", http.StatusForbidden)
		return
	}
	c.sendArchive(w, r, j)
}

func (c *Coordinator) sendArchive(w http.ResponseWriter, r *http.Request, j *job) {
	c.mu.Lock()
	archive, ok := j.archive()
	c.mu.Unlock()
	if !ok {
		http.Error(w, "no artifacts", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/zip")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(archive.Content)) // ranges too
}

func writeJSON(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// mustJSON encodes values of this package, which cannot fail.
func mustJSON(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return body
}

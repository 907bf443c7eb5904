package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	requestBytesMax = 1 << 20          // a password and a few hundred alias targets
	answerWaitMax   = 60 * time.Second // a list of 100,000 accounts takes a second
	socketPathMax   = 103              // sun_path of unix(7) has 108 bytes, of BSD's 104, with a NUL
)

// SocketPath returns where the host of a data directory listens.
func SocketPath(dir string) string { return filepath.Join(dir, "admin.sock") }

// Listen opens the admin socket of a data directory. The caller holds the
// directory's lock, so a socket that is there already was left by a host that
// was killed.
func Listen(dir string) (net.Listener, error) {
	path := SocketPath(dir)
	if len(path) > socketPathMax {
		return nil, fmt.Errorf("open admin socket: %s is longer than the %d bytes that a socket's name may have: use a shorter directory", path, socketPathMax)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("open admin socket: %w", err), l.Close())
	}
	return l, nil
}

// Serve answers requests until ctx is done.
func Serve(ctx context.Context, l net.Listener, x *Executor) error {
	srv := &http.Server{
		Handler:           handler(x),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       answerWaitMax,
		WriteTimeout:      answerWaitMax,
		MaxHeaderBytes:    16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin socket: %w", err)
	}
	return nil
}

func handler(x *Executor) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		var q Request
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, requestBytesMax))
		d.DisallowUnknownFields()
		if err := d.Decode(&q); err != nil {
			http.Error(w, "request: "+err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// A broken connection is the client's to notice.
		_ = json.NewEncoder(w).Encode(x.Do(r.Context(), q))
	})
	mux.HandleFunc("POST /verify", x.serveVerify)
	return mux
}

// ErrNotRunning is returned by Client when no host listens.
var ErrNotRunning = errors.New("no host is running on this directory")

// Client asks a running host.
type Client struct{ Dir string }

// Do sends a request. The error is ErrNotRunning when nobody listens; what
// the host itself refuses is in the answer.
func (c Client) Do(ctx context.Context, q Request) (Answer, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return Answer{}, fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWaitMax)
	defer cancel()
	resp, done, err := c.post(ctx, "/", body)
	if err != nil {
		return Answer{}, err
	}
	defer done()
	var a Answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return Answer{}, fmt.Errorf("read the host's answer: %w", err)
	}
	return a, nil
}

// post sends a body; done gives the connection back.
func (c Client) post(ctx context.Context, path string, body []byte) (resp *http.Response, done func(), err error) {
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", SocketPath(c.Dir))
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin"+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("ask host: %w", err)
	}
	resp, err = (&http.Client{Transport: t}).Do(req)
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial" && !errors.Is(err, os.ErrPermission):
		return nil, nil, ErrNotRunning
	case err != nil:
		return nil, nil, fmt.Errorf("ask host: %w", err)
	}
	done = func() {
		_ = resp.Body.Close() // it has been read, or nobody wants the rest
		t.CloseIdleConnections()
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // as much of the reason as there is
		done()
		return nil, nil, fmt.Errorf("ask host: %s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return resp, done, nil
}

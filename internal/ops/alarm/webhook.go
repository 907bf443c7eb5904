package alarm

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	webhookReplyMax = 4 << 10 // octets read of an answer, so that the connection can be kept
	webhookIdleMax  = time.Minute
	webhookHeadMax  = 64 << 10 // octets of an answer's header
)

// signatureHeader has the HMAC-SHA256 (RFC 2104) of the body, as hex digits
// after "sha256=".
const signatureHeader = "Breakwater-Signature"

// webhook posts notices as JSON.
type webhook struct {
	url    string
	secret []byte
	client *http.Client
}

func newWebhook(target string, secret []byte) (*webhook, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("webhook: want a URL such as https://example.org/alarm")
	}
	return &webhook{url: target, secret: secret, client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxResponseHeaderBytes: webhookHeadMax,
			MaxIdleConns: 1, IdleConnTimeout: webhookIdleMax, ForceAttemptHTTP2: true,
		},
		// A redirect would turn the POST into a GET, and may lead anywhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (w *webhook) Name() string { return "webhook" }

// Send implements Sink.
func (w *webhook) Send(ctx context.Context, n Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("%w: encode notice: %w", ErrRefused, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("make request")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "breakwater")
	if len(w.secret) > 0 {
		mac := hmac.New(sha256.New, w.secret)
		mac.Write(body)
		req.Header.Set(signatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := w.client.Do(req)
	if err != nil {
		// The URL often is a secret itself: only the cause is told.
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("post: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, webhookReplyMax) // the status has said it
	return verdict(resp.StatusCode)
}

// verdict tells what a status means: a client's error will not go away, but for
// those that say "later" (RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4).
func verdict(status int) error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status >= 500:
		return fmt.Errorf("answered %d %s", status, http.StatusText(status))
	}
	return fmt.Errorf("%w: answered %d %s", ErrRefused, status, http.StatusText(status))
}

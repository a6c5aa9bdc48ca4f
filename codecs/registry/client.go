// Package registry talks to a schema registry with the Confluent REST API, and holds a small one for gantry dev.
//
// A registry decides how a message is read, so its word and its silence are kept apart: ErrNotFound is only what a
// registry itself answered, with its own error code; everything else that is no answer is ErrUnavailable, including a
// proxy's "404 Not Found" page, and is to be asked again. The package does not cache (see codecs.RawDecoder) and does
// not retry.
package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gantry/codecs"
)

// Errors of a Client, to be told apart with errors.Is.
var (
	ErrNotFound     = errors.New("not in the registry")                                      // an answer: no such id, subject or version
	ErrIncompatible = errors.New("the registry refuses the schema")                          // an answer: register something else
	ErrUnauthorized = errors.New("the registry refuses registry.user and registry.password") // ask again when the configuration is mended
	ErrUnavailable  = errors.New("the registry does not answer")                             // ask again later
)

const (
	mediaType      = "application/vnd.schemaregistry.v1+json"
	answerBytesMax = 4 << 20 // of a registry's answer
)

// Error codes of the Confluent API.
const (
	codeSubjectNotFound     = 40401
	codeVersionNotFound     = 40402
	codeSchemaNotFound      = 40403
	codeIncompatible        = 409
	codeInvalidSchema       = 42201
	codeInvalidVersion      = 42202
	codeInvalidLevel        = 42203
	codeInternalServerError = 50001
)

// Options configure a Client.
type Options struct {
	URL      string // base of the API, http or https; it may hold a path, such as /apis/ccompat/v7
	User     string // for basic authentication; empty for none
	Password string
	Timeout  time.Duration // for one request and its answer
	HTTP     *http.Client  // nil for one of its own
}

// DefaultOptions asks a registry on this machine, at the usual port.
func DefaultOptions() Options {
	return Options{URL: "http://127.0.0.1:8081", Timeout: 10 * time.Second}
}

// Validate reports every option that cannot work.
func (o Options) Validate() error {
	var errs []error
	if u, err := url.Parse(o.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		errs = append(errs, fmt.Errorf("registry URL %q: want http:// or https:// and a host", o.URL))
	} else if u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, fmt.Errorf("registry URL %q: want neither query nor fragment", o.URL))
	}
	if o.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("registry timeout %v: want more than 0", o.Timeout))
	}
	return errors.Join(errs...)
}

// Client asks a registry. It is safe for concurrent use.
type Client struct {
	base string
	o    Options
	http *http.Client
}

var _ codecs.SchemaSource = (*Client)(nil)

// NewClient returns a client; it connects to nothing yet.
func NewClient(o Options) (*Client, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	c := &Client{base: strings.TrimRight(o.URL, "/"), o: o, http: o.HTTP}
	if c.http == nil {
		c.http = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	return c, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// schemaJSON is a schema in requests and answers. An Avro schema has the type AVRO or none.
type schemaJSON struct {
	Subject    string `json:"subject,omitempty"`
	ID         int32  `json:"id,omitempty"`
	Version    int    `json:"version,omitempty"`
	Schema     string `json:"schema,omitempty"`
	SchemaType string `json:"schemaType,omitempty"`
}

func (s *schemaJSON) avro() bool {
	return s.SchemaType == "" || strings.EqualFold(s.SchemaType, "AVRO")
}

// Schema returns the text of the Avro schema with this id. Its errors wrap codecs.ErrSchemaUnknown or
// codecs.ErrSchemaNotAvro where that is the registry's answer; otherwise they are no verdict on the id.
func (c *Client) Schema(ctx context.Context, id int32) (string, error) {
	var got schemaJSON
	err := c.do(ctx, http.MethodGet, "/schemas/ids/"+strconv.Itoa(int(id)), nil, &got)
	switch {
	case errors.Is(err, ErrNotFound):
		return "", fmt.Errorf("schema %d: %w: %w", id, codecs.ErrSchemaUnknown, err)
	case err != nil:
		return "", fmt.Errorf("schema %d: %w", id, err)
	case !got.avro():
		return "", fmt.Errorf("schema %d: %w: its type is %s", id, codecs.ErrSchemaNotAvro, got.SchemaType)
	case got.Schema == "":
		return "", fmt.Errorf("schema %d: %w: the answer holds no schema", id, ErrUnavailable)
	}
	return got.Schema, nil
}

// Register adds a version to a subject and returns the schema's id; an equal schema keeps its id. ErrIncompatible means
// that the registry refuses it.
func (c *Client) Register(ctx context.Context, subject, schema string) (id int32, err error) {
	var got schemaJSON
	err = c.do(ctx, http.MethodPost, subjectPath(subject)+"/versions", schemaJSON{Schema: schema}, &got)
	if err != nil {
		return 0, fmt.Errorf("register a schema for %s: %w", subject, err)
	}
	return got.ID, nil
}

// Latest returns the subject's newest version; ErrNotFound where it has none.
func (c *Client) Latest(ctx context.Context, subject string) (id int32, schema string, err error) {
	var got schemaJSON
	if err := c.do(ctx, http.MethodGet, subjectPath(subject)+"/versions/latest", nil, &got); err != nil {
		return 0, "", fmt.Errorf("latest schema of %s: %w", subject, err)
	}
	return got.ID, got.Schema, nil
}

// lookup returns the id of a schema that the subject has in some version; ErrNotFound where it has not.
func (c *Client) lookup(ctx context.Context, subject, schema string) (id int32, err error) {
	var got schemaJSON
	if err := c.do(ctx, http.MethodPost, subjectPath(subject), schemaJSON{Schema: schema}, &got); err != nil {
		return 0, fmt.Errorf("look up a schema of %s: %w", subject, err)
	}
	return got.ID, nil
}

// EnsureSubject returns the id under which the subject has the schema, and registers it where the subject has not. A
// subject that has others gets one more version if the registry accepts that; otherwise the error is ErrIncompatible.
func (c *Client) EnsureSubject(ctx context.Context, subject, schema string) (id int32, err error) {
	// The latest version is compared here, since some registries take a schema with other white space for another one.
	id, latest, err := c.Latest(ctx, subject)
	switch {
	case errors.Is(err, ErrNotFound):
		return c.Register(ctx, subject, schema)
	case err != nil:
		return 0, err
	case equalJSON(latest, schema):
		return id, nil
	}
	// An older version is as good: a newer Gantry may have registered the latest one.
	if id, err = c.lookup(ctx, subject, schema); !errors.Is(err, ErrNotFound) {
		return id, err
	}
	if id, err = c.Register(ctx, subject, schema); errors.Is(err, ErrIncompatible) {
		return 0, fmt.Errorf("subject %s holds another schema, to which this program's is not compatible; "+
			"use another subject or delete that one: %w", subject, err)
	}
	return id, err
}

func equalJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

func subjectPath(subject string) string { return "/subjects/" + url.PathEscape(subject) }

// do sends a request and reads the answer into out.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", mediaType+", application/json")
	if in != nil {
		req.Header.Set("Content-Type", mediaType)
	}
	if c.o.User != "" {
		req.SetBasicAuth(c.o.User, c.o.Password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w: read the answer to %s %s: %w", ErrUnavailable, method, path, err)
	case len(answer) > answerBytesMax:
		return fmt.Errorf("%w: the answer to %s %s has more than %d bytes", ErrUnavailable, method, path, answerBytesMax)
	case resp.StatusCode != http.StatusOK:
		return answerError(resp.Status, resp.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%w: the answer to %s %s: %w", ErrUnavailable, method, path, err)
	}
	return nil
}

// errorJSON is the body of an answer that refuses.
type errorJSON struct {
	Code    int    `json:"error_code"`
	Message string `json:"message"`
}

// answerError classifies an answer other than 200. Only the registry's own error codes are its word.
func answerError(status string, statusCode int, body []byte) error {
	var e errorJSON
	if json.Unmarshal(body, &e) != nil {
		e = errorJSON{}
	}
	kind := ErrUnavailable
	switch {
	case statusCode == http.StatusUnauthorized || statusCode == http.StatusForbidden:
		kind = ErrUnauthorized
	case statusCode == http.StatusNotFound &&
		(e.Code == codeSubjectNotFound || e.Code == codeVersionNotFound || e.Code == codeSchemaNotFound):
		kind = ErrNotFound
	case statusCode == http.StatusConflict && e.Code != 0,
		statusCode == http.StatusUnprocessableEntity && e.Code != 0:
		kind = ErrIncompatible
	}
	if e.Message == "" {
		return fmt.Errorf("%w (%s)", kind, status)
	}
	return fmt.Errorf("%w (%s): %s", kind, status, e.Message)
}

package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
)

// contentSecurityPolicy lets the page load its own files and talk to its own server, and nothing else.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// secure sets the headers that every answer carries. Measurements must not be cached; the page's files say otherwise
// for themselves.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func readOnly(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			problemf(http.StatusMethodNotAllowed, "%s answers GET and HEAD, not %s", r.URL.Path, r.Method).write(w)
			return
		}
		next(w, r)
	}
}

// authorised asks for a bearer token where tokens are configured.
func (s *Server) authorised(next http.HandlerFunc) http.HandlerFunc {
	if len(s.tokens) == 0 {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || !s.knownToken(strings.TrimSpace(token)) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="gantry"`)
			problemf(http.StatusUnauthorized, "send one of http.tokens as Authorization: Bearer TOKEN").write(w)
			return
		}
		next(w, r)
	}
}

// knownToken compares with every token in constant time, so that timing tells neither a prefix nor which one it was.
func (s *Server) knownToken(token string) bool {
	sum := sha256.Sum256([]byte(token))
	known := 0
	for i := range s.tokens {
		known |= subtle.ConstantTimeCompare(sum[:], s.tokens[i][:])
	}
	return known == 1
}

// whenReady answers 503 with the progress until the views have caught up.
func (s *Server) whenReady(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		roles := s.o.Readiness.Roles()
		for i := range roles {
			if roles[i].Name == RoleServe && roles[i].Ready {
				next(w, r)
				return
			}
		}
		p := problemf(http.StatusServiceUnavailable, "the views have not caught up yet")
		p.roles = append([]Role{}, roles...)
		p.write(w)
	}
}

func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
}

func writeJSON(w http.ResponseWriter, body []byte) {
	writeBody(w, http.StatusOK, "application/json", body)
}

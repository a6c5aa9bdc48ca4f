package api

import (
	"fmt"
	"net/http"
	"strconv"
)

// problem is an RFC 9457 answer. Its type is about:blank: the status says which kind it is, the detail what to do.
type problem struct {
	status int
	detail string
	bad    []badParameter
	roles  []Role // of a 503: how far the recovery has come
}

// badParameter names a query parameter, the value that it has, and what would be allowed.
type badParameter struct {
	Parameter, Value, Allowed string
}

const problemType = "application/problem+json"

// retryAfterSeconds is when a client of a recovering or full server should come back.
const retryAfterSeconds = 2

func problemf(status int, format string, args ...any) *problem {
	return &problem{status: status, detail: fmt.Sprintf(format, args...)}
}

func (p *problem) append(b []byte) []byte {
	b = appendText(appendKey(append(b, '{'), "type"), "about:blank")
	b = appendText(appendKey(b, "title"), http.StatusText(p.status))
	b = strconv.AppendInt(appendKey(b, "status"), int64(p.status), 10)
	b = appendText(appendKey(b, "detail"), p.detail)
	if len(p.bad) > 0 {
		b = append(appendKey(b, "parameters"), '[')
		for i, e := range p.bad {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(appendKey(append(b, '{'), "parameter"), e.Parameter)
			b = appendText(appendKey(b, "value"), e.Value)
			b = append(appendText(appendKey(b, "allowed"), e.Allowed), '}')
		}
		b = append(b, ']')
	}
	if p.roles != nil {
		b = strconv.AppendBool(appendKey(b, "ready"), false)
		b = appendRoles(appendKey(b, "roles"), p.roles)
	}
	return append(b, '}')
}

func (p *problem) write(w http.ResponseWriter) {
	if p.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	writeBody(w, p.status, problemType, p.append(nil))
}

func appendRoles(b []byte, roles []Role) []byte {
	b = append(b, '[')
	for i := range roles {
		r := &roles[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(appendKey(append(b, '{'), "role"), r.Name)
		b = strconv.AppendBool(appendKey(b, "ready"), r.Ready)
		b = appendText(appendKey(b, "trouble"), r.Trouble)
		b = appendNumber(appendKey(b, "progress"), r.share())
		b = append(appendKey(b, "partitions"), '[')
		for j, p := range r.Partitions {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendInt(appendKey(append(b, '{'), "partition"), p.Partition)
			b = strconv.AppendBool(appendKey(b, "ready"), p.Ready)
			b = strconv.AppendInt(appendKey(b, "start"), p.Start, 10)
			b = strconv.AppendInt(appendKey(b, "offset"), p.Offset, 10)
			b = strconv.AppendInt(appendKey(b, "end"), p.End, 10)
			b = append(appendText(appendKey(b, "detail"), p.Detail), '}')
		}
		b = append(b, "]}"...)
	}
	return append(b, ']')
}

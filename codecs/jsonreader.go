package codecs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonKind is the type of a JSON value, by its first byte.
type jsonKind byte

const (
	jsonNull   jsonKind = 'n'
	jsonTrue   jsonKind = 't'
	jsonFalse  jsonKind = 'f'
	jsonString jsonKind = '"'
	jsonNumber jsonKind = '0'
	jsonObject jsonKind = '{'
	jsonArray  jsonKind = '['
	jsonNone   jsonKind = 0 // no value begins here
)

func (k jsonKind) String() string {
	switch k {
	case jsonNull:
		return "null"
	case jsonTrue, jsonFalse:
		return "a boolean"
	case jsonString:
		return "a string"
	case jsonNumber:
		return "a number"
	case jsonObject:
		return "an object"
	case jsonArray:
		return "an array"
	default:
		return "no JSON value"
	}
}

// jsonReader reads one JSON text (RFC 8259), more strictly than encoding/json: no duplicate keys at any level, no
// invalid UTF-8, no escape of half a surrogate pair, at most nestingMax levels. Two texts that another reader could
// take differently are no good as the identity of a sensor. After the first error every method returns zero values; the
// caller looks at end once.
type jsonReader struct {
	data  []byte
	pos   int
	depth int
	keys  []string // of all open objects, the innermost last
	err   error
}

// newJSONReader positions a reader on the first byte of the text's value. It keeps keys in the given slice while that
// is long enough.
func newJSONReader(data []byte, keys []string) jsonReader {
	p := jsonReader{data: data, keys: keys}
	switch {
	case bytes.HasPrefix(data, []byte("\ufeff")):
		p.fail(errors.New("JSON begins with a byte order mark"))
	case !utf8.Valid(data):
		p.fail(errors.New("JSON is not UTF-8"))
	}
	p.space()
	return p
}

// end reports the first error, or what is left over after the value.
func (p *jsonReader) end() error {
	p.space()
	if p.err == nil && p.pos < len(p.data) {
		return fmt.Errorf("%d bytes are left over after the JSON value", len(p.data)-p.pos)
	}
	return p.err
}

func (p *jsonReader) fail(err error) {
	if p.err == nil {
		p.err = err
		p.pos = len(p.data)
	}
}

func (p *jsonReader) syntax(want string) {
	if p.pos >= len(p.data) {
		p.fail(fmt.Errorf("JSON ends where %s is expected", want))
		return
	}
	p.fail(fmt.Errorf("JSON byte %d is not %s", p.pos, want))
}

func (p *jsonReader) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		default:
			return
		}
	}
}

// peek returns the next byte, 0 at the end.
func (p *jsonReader) peek() byte {
	if p.pos < len(p.data) {
		return p.data[p.pos]
	}
	return 0
}

// take passes c if it is next.
func (p *jsonReader) take(c byte) bool {
	if p.peek() != c || p.pos >= len(p.data) {
		return false
	}
	p.pos++
	return true
}

// kind tells the type of the value that begins here.
func (p *jsonReader) kind() jsonKind {
	switch c := p.peek(); c {
	case 'n', 't', 'f', '"', '{', '[':
		return jsonKind(c)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return jsonNumber
	default:
		return jsonNone
	}
}

// wrongType reports that field is of another type than it should be.
func (p *jsonReader) wrongType(field, want string) {
	if k := p.kind(); k != jsonNone {
		p.fail(fmt.Errorf("%s is %v, not %s", field, k, want))
		return
	}
	p.syntax("a value")
}

// null passes a null.
func (p *jsonReader) null() bool {
	if p.kind() != jsonNull {
		return false
	}
	p.literal("null")
	return true
}

func (p *jsonReader) literal(text string) {
	if !bytes.HasPrefix(p.data[p.pos:], []byte(text)) {
		p.syntax(text)
		return
	}
	p.pos += len(text)
}

// jsonFields is how far an open object has been read.
type jsonFields struct {
	base int                 // its keys in jsonReader.keys begin here
	seen map[string]struct{} // its keys, once they are many
}

// keysScanned is up to how many keys of an object are compared one by one. Beyond it a map keeps a hostile object from
// taking quadratic time.
const keysScanned = 32

// object opens an object; next walks it.
func (p *jsonReader) object() jsonFields {
	p.open('{', "an object")
	return jsonFields{base: len(p.keys)}
}

// next returns the object's next key, positioned on its value, which the caller must read; or false at the end.
func (p *jsonReader) next(o *jsonFields) (key string, ok bool) {
	p.space()
	if p.err == nil && p.take('}') {
		p.keys = p.keys[:o.base]
		p.depth--
		return "", false
	}
	if len(p.keys) > o.base {
		p.comma()
	}
	key = p.string()
	p.addKey(o, key)
	p.space()
	if !p.take(':') {
		p.syntax("a colon")
	}
	p.space()
	return key, p.err == nil
}

// addKey refuses a key that the object has already.
func (p *jsonReader) addKey(o *jsonFields, key string) {
	var dup bool
	if keys := p.keys[o.base:]; len(keys) < keysScanned {
		dup = slices.Contains(keys, key)
	} else {
		if o.seen == nil {
			o.seen = make(map[string]struct{}, 2*keysScanned)
			for _, k := range keys {
				o.seen[k] = struct{}{}
			}
		}
		_, dup = o.seen[key]
		o.seen[key] = struct{}{}
	}
	if dup {
		p.fail(fmt.Errorf("an object has the key %.64q twice", key))
	}
	p.keys = append(p.keys, key)
}

// array passes an array.
func (p *jsonReader) array() {
	if !p.open('[', "an array") {
		return
	}
	for first := true; p.err == nil && !p.take(']'); first = false {
		if !first {
			p.comma()
		}
		p.skip()
		p.space()
	}
	p.depth--
}

func (p *jsonReader) open(c byte, what string) bool {
	if !p.take(c) {
		p.syntax(what)
		return false
	}
	if p.depth++; p.depth > nestingMax {
		p.fail(errNesting)
		return false
	}
	p.space()
	return true
}

func (p *jsonReader) comma() {
	if !p.take(',') {
		p.syntax("a comma or the end")
	}
	p.space()
}

// skip passes any value, checking its syntax.
func (p *jsonReader) skip() {
	switch p.kind() {
	case jsonNull:
		p.literal("null")
	case jsonTrue:
		p.literal("true")
	case jsonFalse:
		p.literal("false")
	case jsonString:
		p.string()
	case jsonNumber:
		p.number()
	case jsonObject:
		o := p.object()
		for _, ok := p.next(&o); ok; _, ok = p.next(&o) {
			p.skip()
		}
	case jsonArray:
		p.array()
	default:
		p.syntax("a value")
	}
}

// string reads a string. It aliases the text unless it holds escapes.
func (p *jsonReader) string() string {
	if !p.take('"') {
		p.syntax("a string")
		return ""
	}
	start := p.pos
	for p.pos < len(p.data) {
		switch c := p.data[p.pos]; {
		case c == '"':
			v := p.data[start:p.pos:p.pos]
			p.pos++
			return alias(v)
		case c == '\\':
			return p.escaped(append([]byte(nil), p.data[start:p.pos]...))
		case c < ' ':
			p.syntax("allowed in a string")
			return ""
		default:
			p.pos++
		}
	}
	p.syntax("the end of a string")
	return ""
}

// escaped reads the rest of a string from its first escape on, and appends it to b.
func (p *jsonReader) escaped(b []byte) string {
	for p.pos < len(p.data) {
		c := p.data[p.pos]
		switch {
		case c == '"':
			p.pos++
			return alias(b)
		case c == '\\':
			p.pos++
			b = p.escape(b)
		case c < ' ':
			p.syntax("allowed in a string")
		default:
			b = append(b, c)
			p.pos++
		}
	}
	p.syntax("the end of a string")
	return ""
}

func (p *jsonReader) escape(b []byte) []byte {
	c := p.peek()
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		p.pos++
		return p.unicode(b)
	default:
		p.syntax("an escape")
		return b
	}
	p.pos++
	return append(b, c)
}

// unicode reads four hex digits, and a second escape where they are the first half of a surrogate pair.
func (p *jsonReader) unicode(b []byte) []byte {
	r := p.hex4()
	if utf16.IsSurrogate(r) {
		var low rune
		if p.take('\\') && p.take('u') {
			low = p.hex4()
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			p.fail(errors.New("JSON escapes half a surrogate pair"))
			return b
		}
	}
	return utf8.AppendRune(b, r)
}

func (p *jsonReader) hex4() (r rune) {
	for range 4 {
		c := p.peek()
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			p.syntax("a hex digit")
			return 0
		}
		r = r<<4 | rune(c)
		p.pos++
	}
	return r
}

// number reads a number and returns its text.
func (p *jsonReader) number() jsonNumeral {
	start := p.pos
	p.take('-')
	if !p.take('0') {
		p.digits()
	}
	if p.take('.') {
		p.digits()
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		p.digits()
	}
	if p.err != nil {
		return "0"
	}
	return jsonNumeral(alias(p.data[start:p.pos]))
}

func (p *jsonReader) digits() {
	start := p.pos
	for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
		p.pos++
	}
	if p.pos == start {
		p.syntax("a digit")
	}
}

// jsonNumeral is the text of a number, valid by JSON's grammar.
type jsonNumeral string

// float returns the nearest double; a number beyond the largest one is infinite.
func (n jsonNumeral) float() float64 {
	v, _ := strconv.ParseFloat(string(n), 64) // the grammar is checked, so the error can only be ErrRange: v is ±Inf
	return v
}

// integer returns the number if it is integral, however it is written: 1200, 1200.0 and 1.2e3 are the same. Beyond
// int64 it returns the nearest int64. Whether a number is integral is decided by its digits, not by a double, which
// would round.
func (n jsonNumeral) integer() (v int64, integral bool) {
	magnitude, exponent := strings.TrimPrefix(string(n), "-"), int64(0)
	if i := strings.IndexAny(magnitude, "eE"); i >= 0 {
		exponent = clampedInt(magnitude[i+1:])
		magnitude = magnitude[:i]
	}
	whole, fraction, _ := strings.Cut(magnitude, ".")
	// Zeros at the end carry no digit, so without them the exponent tells whether the number is integral.
	if fraction = strings.TrimRight(fraction, "0"); fraction == "" {
		trimmed := strings.TrimRight(whole, "0")
		exponent += int64(len(whole) - len(trimmed))
		whole = trimmed
	}
	exponent -= int64(len(fraction))

	u := appendDigits(appendDigits(0, whole), fraction)
	if u == 0 {
		return 0, true
	}
	if exponent < 0 {
		return 0, false
	}
	for ; exponent > 0 && u < magnitudeMax; exponent-- {
		u = appendDigit(u, 0)
	}
	if n[0] == '-' {
		return -int64(u), true // the magnitude of the smallest int64 overflows into itself
	}
	return int64(min(u, math.MaxInt64)), true
}

// clampedInt reads an exponent. It keeps away from the ends of int64: no text is long enough to make up for the rest.
func clampedInt(text string) int64 {
	const limit = math.MaxInt64 / 2
	v, _ := strconv.ParseInt(text, 10, 64) // only ErrRange can occur, and then v is the nearest int64
	return min(max(v, -limit), limit)
}

// magnitudeMax is the magnitude of the smallest int64; greater ones are not told apart.
const magnitudeMax = 1 << 63

func appendDigits(u uint64, digits string) uint64 {
	for i := range len(digits) {
		u = appendDigit(u, digits[i]-'0')
	}
	return u
}

// appendDigit returns 10u + d, at most magnitudeMax.
func appendDigit(u uint64, d byte) uint64 {
	if u > (magnitudeMax-uint64(d))/10 {
		return magnitudeMax
	}
	return 10*u + uint64(d)
}

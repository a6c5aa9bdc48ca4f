package codecs

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"pgregory.net/rapid"
)

// decodeWith compiles a writer schema and decodes a body with it.
func decodeWith(schema string, body []byte) (r RawReading, err error) {
	program, err := compile(schema)
	if err != nil {
		return r, err
	}
	w := wireReader{b: body}
	program.run(&w, &r, nestingMax)
	return r, w.end()
}

// The compiler's idea of RawSchema is RawSchema: the same fields in the same order, required where there is no default.
func TestReaderFieldsAreRawSchema(t *testing.T) {
	raw := avro.MustParse(RawSchema).(*avro.RecordSchema)
	check := func(schema *avro.RecordSchema, fields []readerField) {
		if len(schema.Fields()) != len(fields) {
			t.Fatalf("%s has %d fields, the table %d", schema.Name(), len(schema.Fields()), len(fields))
		}
		for i, f := range schema.Fields() {
			if f.Name() != fields[i].name || f.HasDefault() == fields[i].required {
				t.Errorf("field %d of %s is %s (default %v), the table has %+v", i, schema.Name(), f.Name(),
					f.HasDefault(), fields[i])
			}
			union, ok := f.Type().(*avro.UnionSchema)
			if nullable := ok && union.Nullable(); nullable != fields[i].to.nullable() {
				t.Errorf("field %s: nullable is %v", f.Name(), nullable)
			}
		}
	}
	check(raw, readingFields)
	check(raw.Fields()[5].Type().(*avro.UnionSchema).Types()[1].(*avro.RecordSchema), coordinatesFields)
}

// A writtenField is a field of a random writer schema, with one value that it wrote and what must be read.
type writtenField struct {
	name, schema string
	body         []byte
	read         func(*RawReading)
	err          bool // the value is valid, but the field cannot hold it
	resolves     bool
	required     bool
}

func long(v int64) []byte { return appendLong(nil, v) }

// drawNumber draws a writer type of a numeric field and a value; takes names the types that resolve besides int.
func drawNumber(takes string, set func(*RawReading, float64, int64)) func(*rapid.T) writtenField {
	return func(t *rapid.T) (f writtenField) {
		f.read = func(*RawReading) {}
		good := append(strings.Fields(takes), "int")
		kind := rapid.SampledFrom(good).Draw(t, "type")
		if rapid.IntRange(0, 15).Draw(t, "any type") == 9 {
			kind = rapid.SampledFrom([]string{"long", "float", "double", "string", "boolean"}).Draw(t, "type")
		}
		f.schema = `"` + kind + `"`
		f.resolves = kind == "int" || strings.Contains(takes, kind)
		switch kind {
		case "int":
			v := rapid.Int32().Draw(t, "int")
			f.body, f.read = long(int64(v)), func(r *RawReading) { set(r, float64(v), int64(v)) }
		case "long":
			v := rapid.Int64().Draw(t, "long")
			f.body, f.read = long(v), func(r *RawReading) { set(r, float64(v), v) }
		case "float":
			v := rapid.Float32().Draw(t, "float")
			f.body = binary.LittleEndian.AppendUint32(nil, math.Float32bits(v))
			f.read = func(r *RawReading) { set(r, float64(v), 0) }
		case "double":
			v := rapid.Float64().Draw(t, "double")
			f.body, f.read = appendDouble(nil, v), func(r *RawReading) { set(r, v, 0) }
		case "string":
			f.body = appendString(nil, "x")
		case "boolean":
			f.body = []byte{1}
		}
		return f
	}
}

// drawField draws a field, and puts its type in a union or leaves it alone.
func drawField(t *rapid.T, name string, required bool, draw func(*rapid.T) writtenField) writtenField {
	f := draw(t)
	f.name, f.required = name, required
	null := rapid.IntRange(0, 5).Draw(t, "null") == 5
	shape := rapid.IntRange(0, 3).Draw(t, "shape")
	if required && rapid.IntRange(0, 7).Draw(t, "plain") != 7 { // hamba takes no null branch for these
		shape = 3
	}
	switch shape {
	case 0: // ["null", T]
		f.schema = `["null",` + f.schema + `]`
		f.body = append(long(1), f.body...)
		if null {
			f.body = long(0)
		}
	case 1: // [T, "null"]
		f.schema = `[` + f.schema + `,"null"]`
		f.body = append(long(0), f.body...)
		if null {
			f.body = long(1)
		}
	default:
		return f
	}
	if null {
		f.read, f.err = func(*RawReading) {}, required
	} else {
		f.err = f.err || !f.resolves
	}
	f.resolves = f.resolves || !required // the null branch resolves
	return f
}

func drawSensorID(t *rapid.T) writtenField {
	v := rapid.StringN(0, 20, 80).Draw(t, "id")
	return writtenField{
		schema:   rapid.SampledFrom([]string{`"string"`, `"bytes"`}).Draw(t, "id type"),
		body:     appendString(nil, v),
		read:     func(r *RawReading) { r.SensorID = v },
		resolves: true,
	}
}

func drawTimestamp(t *rapid.T) writtenField {
	f := writtenField{schema: `"int"`, resolves: true}
	var ms int64
	f.read = func(r *RawReading) { r.Timestamp = Some(ms) }
	if rapid.Bool().Draw(t, "int") {
		ms = int64(rapid.Int32().Draw(t, "time"))
		f.body = long(ms)
		return f
	}
	kind := rapid.SampledFrom([]string{
		"timestamp-millis", "local-timestamp-millis", "timestamp-micros", "local-timestamp-micros", "timestamp-nanos",
	}).Draw(t, "unit")
	f.schema = `{"type":"long","logicalType":"` + kind + `"}`
	unit := int64(1)
	switch {
	case strings.HasSuffix(kind, "micros"):
		unit = 1e3
	case strings.HasSuffix(kind, "nanos"):
		unit = 1e6
	}
	ms = rapid.Int64Range(math.MinInt64/unit, math.MaxInt64/unit-1).Draw(t, "time")
	f.body = long(ms*unit + rapid.Int64Range(0, unit-1).Draw(t, "finer"))
	return f
}

func drawCoordinates(t *rapid.T) writtenField {
	lat := drawField(t, "latitude", true, drawNumber("long float double", func(r *RawReading, v float64, _ int64) {
		r.Latitude = Some(v)
	}))
	lon := drawField(t, "longitude", true, drawNumber("long float double", func(r *RawReading, v float64, _ int64) {
		r.Longitude = Some(v)
	}))
	fields := rapid.Permutation([]writtenField{lat, lon, drawExtra(t, "extra")}).Draw(t, "order")
	f := writtenField{
		read:     func(r *RawReading) { lat.read(r); lon.read(r) },
		resolves: lat.resolves && lon.resolves,
		err:      lat.err || lon.err,
	}
	f.schema, f.body = record("Coordinates", fields)
	return f
}

// record puts fields together.
func record(name string, fields []writtenField) (schema string, body []byte) {
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = fmt.Sprintf(`{"name":%q,"type":%s}`, f.name, f.schema)
		body = append(body, f.body...)
	}
	return fmt.Sprintf(`{"type":"record","name":%q,"fields":[%s]}`, name, strings.Join(parts, ",")), body
}

// drawExtra draws a field that nobody wants, of any type.
func drawExtra(t *rapid.T, name string) writtenField {
	f := writtenField{name: name, read: func(*RawReading) {}, resolves: true}
	f.schema, f.body = drawAny(t, name, 3)
	return f
}

func drawAny(t *rapid.T, name string, depth int) (schema string, body []byte) {
	kinds := []string{"null", "boolean", "int", "long", "float", "double", "bytes", "string", "fixed", "enum", "list"}
	if depth > 0 {
		kinds = append(kinds, "array", "map", "record", "union")
	}
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case "boolean":
		return `"boolean"`, []byte{rapid.SampledFrom([]byte{0, 1}).Draw(t, "v")}
	case "int":
		return `"int"`, long(int64(rapid.Int32().Draw(t, "v")))
	case "long":
		return `"long"`, long(rapid.Int64().Draw(t, "v"))
	case "float":
		return `"float"`, []byte{1, 2, 3, 4}
	case "double":
		return `"double"`, appendDouble(nil, 7)
	case "bytes", "string":
		return `"` + kind + `"`, appendString(nil, rapid.String().Draw(t, "v"))
	case "fixed":
		n := rapid.IntRange(1, 20).Draw(t, "size")
		return fmt.Sprintf(`{"type":"fixed","name":"F%s","size":%d}`, name, n), make([]byte, n)
	case "enum":
		return fmt.Sprintf(`{"type":"enum","name":"E%s","symbols":["A","B","C"]}`, name),
			long(rapid.Int64Range(0, 2).Draw(t, "v"))
	case "list": // a recursive type
		n := rapid.IntRange(1, 20).Draw(t, "length")
		for range n {
			body = append(append(body, long(42)...), long(1)...)
		}
		body[len(body)-1] = 0
		return fmt.Sprintf(`{"type":"record","name":"L%[1]s","fields":[{"name":"v","type":"int"},`+
			`{"name":"next","type":["null","L%[1]s"]}]}`, name), body
	case "array", "map":
		schema, item := drawAny(t, name+"i", depth-1)
		var block []byte
		n := rapid.Int64Range(0, 3).Draw(t, "n")
		for i := range n {
			if kind == "map" {
				block = appendString(block, fmt.Sprint("k", i))
			}
			block = append(block, item...)
		}
		switch {
		case n == 0:
		case rapid.Bool().Draw(t, "sized"):
			body = append(append(long(-n), long(int64(len(block)))...), block...)
		default:
			body = append(long(n), block...)
		}
		property := map[string]string{"array": "items", "map": "values"}[kind]
		return fmt.Sprintf(`{"type":%q,%q:%s}`, kind, property, schema), append(body, 0)
	case "record":
		fields := []writtenField{{name: "a"}, {name: "b"}}
		for i := range fields {
			fields[i].schema, fields[i].body = drawAny(t, name+fields[i].name, depth-1)
		}
		return record("R"+name, fields)
	case "union":
		return `["null","long",{"type":"array","items":"null"}]`, append(long(2), append(long(3), 0)...)
	default:
		return `"null"`, nil
	}
}

// For any writer schema and any value that it wrote: what its fields say is read, by name, in any order, with Avro's
// promotions; what does not resolve is refused; and where hamba/avro resolves too, it reads the same.
func TestResolveAgreesWithHamba(t *testing.T) {
	var resolved, compared int
	rapid.Check(t, func(t *rapid.T) {
		all := []writtenField{
			drawField(t, "sensor_id", true, drawSensorID),
			drawField(t, "timestamp", true, drawTimestamp),
			drawField(t, "speed_mph", false, drawNumber("long float double", func(r *RawReading, v float64, _ int64) {
				r.SpeedMPH = Some(v)
			})),
			drawField(t, "volume_vph", false, drawNumber("", func(r *RawReading, _ float64, i int64) {
				r.VolumeVPH = Some(i)
			})),
			drawField(t, "occupancy_percent", false, drawNumber("long float double", func(r *RawReading, v float64, _ int64) {
				r.Occupancy = Some(v)
			})),
			drawField(t, "coordinates", false, drawCoordinates),
			drawExtra(t, "extra1"), drawExtra(t, "extra2"),
		}
		fields := rapid.Permutation(all).Draw(t, "order")
		fields = fields[:len(fields)-rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "left out")]
		schema, body := record("Whatever", fields)

		var want RawReading
		var fails, unresolved bool
		for _, f := range all {
			if !slices.ContainsFunc(fields, func(g writtenField) bool { return g.name == f.name }) {
				unresolved = unresolved || f.required
				continue
			}
			f.read(&want)
			fails = fails || f.err
			unresolved = unresolved || !f.resolves
		}

		program, err := compile(schema)
		if unresolved != (err != nil) {
			t.Fatalf("%s: unresolvable is %v, compile says %v", schema, unresolved, err)
		}
		theirs, theirErr := hambaDecode(schema, body)
		if unresolved {
			return
		}
		resolved++
		var got RawReading
		w := wireReader{b: body}
		program.run(&w, &got, nestingMax)
		err = w.end()
		if fails != (err != nil) {
			t.Fatalf("%s, %x: failing is %v, got %v", schema, body, fails, err)
		}
		if fails {
			return
		}
		if !sameRaw(got, want) {
			t.Fatalf("%s, %x:\n got %+v\nwant %+v", schema, body, got, want)
		}
		if theirErr != nil { // hamba refuses unions of which one branch does not fit
			return
		}
		compared++

		if strings.Contains(schema, "micros") || strings.Contains(schema, "nanos") {
			theirs.Timestamp = got.Timestamp // hamba's resolution does not convert between units
		}
		if !sameRaw(got, theirs) {
			t.Fatalf("%s, %x:\n  got %+v\nhamba %+v", schema, body, got, theirs)
		}
	})
	if compared == 0 || compared*4 < resolved {
		t.Errorf("of %d readings only %d were compared with hamba", resolved, compared)
	}
}

// hambaRaw turns hamba's generic form of a record of RawSchema into a reading.
func hambaRaw(record map[string]any) (r RawReading) {
	switch id := unwrap(record["sensor_id"]).(type) {
	case string:
		r.SensorID = id
	case []byte:
		r.SensorID = string(id)
	}
	switch at := unwrap(record["timestamp"]).(type) {
	case time.Time:
		r.Timestamp = Some(at.UnixMilli())
	case int64:
		r.Timestamp = Some(at)
	}
	if v, ok := unwrap(record["volume_vph"]).(int); ok {
		r.VolumeVPH = Some(int64(v))
	}
	r.SpeedMPH, r.Occupancy = hambaDouble(record["speed_mph"]), hambaDouble(record["occupancy_percent"])
	coordinates, _ := record["coordinates"].(map[string]any)
	if inner, ok := coordinates["gantry.Coordinates"].(map[string]any); ok {
		coordinates = inner
	}
	r.Latitude, r.Longitude = hambaDouble(coordinates["latitude"]), hambaDouble(coordinates["longitude"])
	return r
}

func hambaDouble(v any) (d Null[float64]) {
	d.V, d.Valid = unwrap(v).(float64)
	return d
}

// unwrap takes the value out of hamba's form of a union.
func unwrap(v any) any {
	if m, ok := v.(map[string]any); ok && len(m) == 1 {
		for _, inner := range m {
			return inner
		}
	}
	return v
}

// hambaDecode decodes by hamba's own resolution. It compares the names of records, so the writer's are set to ours.
func hambaDecode(schema string, body []byte) (r RawReading, err error) {
	schema = strings.Replace(schema, `"name":"Whatever"`, `"name":"TrafficReading","namespace":"gantry"`, 1)
	writer, err := avro.ParseWithCache(schema, "", &avro.SchemaCache{})
	if err != nil {
		return r, err
	}
	reader, err := avro.ParseWithCache(RawSchema, "", &avro.SchemaCache{})
	if err != nil {
		return r, err
	}
	resolved, err := avro.NewSchemaCompatibility().Resolve(reader, writer)
	if err != nil {
		return r, err
	}
	var record any
	if err = (avro.Config{}).Freeze().Unmarshal(resolved, body, &record); err != nil {
		return r, err
	}
	return hambaRaw(record.(map[string]any)), nil
}

// sameRaw compares bit by bit, so that NaN equals itself.
func sameRaw(a, b RawReading) bool { return fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b) }

func TestResolveTable(t *testing.T) {
	rec := func(fields string) string {
		return `{"type":"record","name":"R","fields":[` + fields + `]}`
	}
	const base = `{"name":"sensor_id","type":"string"},{"name":"timestamp","type":"long"}`
	baseBody := append(appendString(nil, "s"), long(5)...)
	with := func(more ...byte) []byte { return append(slices.Clone(baseBody), more...) }
	deep := func(n int) []byte { // a list of n records
		b := make([]byte, 0, n)
		for range n - 1 {
			b = append(b, 2)
		}
		return append(b, 0)
	}
	const list = base + `,{"name":"x","type":{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}}`
	reading := RawReading{SensorID: "s", Timestamp: Some(int64(5))}
	for _, tt := range []struct {
		name, schema string
		body         []byte
		want         RawReading
		err          string
	}{
		{"plain", rec(base), with(), reading, ""},
		{
			"a field's own alias", rec(`{"name":"id","aliases":["sensor_id"],"type":"string"},` +
				`{"name":"timestamp","type":"long"}`),
			with(), reading, "",
		},
		{
			"a name goes before an alias", rec(`{"name":"id","aliases":["sensor_id"],"type":"string"},` + base),
			append(appendString(nil, "not"), baseBody...), reading, "",
		},
		{"missing sensor_id", rec(`{"name":"timestamp","type":"long"}`), nil, reading, "no field sensor_id"},
		{"missing timestamp", rec(`{"name":"sensor_id","type":"string"}`), nil, reading, "no field timestamp"},
		{
			"micros are floored", rec(`{"name":"sensor_id","type":"string"},` +
				`{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-micros"}}`),
			append(appendString(nil, "s"), long(-1)...),
			RawReading{SensorID: "s", Timestamp: Some(int64(-1))},
			"",
		},
		{
			"nanos are floored", rec(`{"name":"sensor_id","type":"string"},` +
				`{"name":"timestamp","type":{"type":"long","logicalType":"local-timestamp-nanos"}}`),
			append(appendString(nil, "s"), long(5_999_999)...), reading, "",
		},
		{"left over", rec(base), with(0), reading, "1 bytes are left over"},
		{"short", rec(base), baseBody[:2], reading, "ends early"},
		{
			"null into a required field", rec(`{"name":"sensor_id","type":["null","string"]},` +
				`{"name":"timestamp","type":"long"}`),
			[]byte{0},
			reading, "a null does not fit",
		},
		{"long into volume", rec(base + `,{"name":"volume_vph","type":"long"}`), nil, reading, "a long does not fit"},
		{
			"a branch that fits", rec(base + `,{"name":"volume_vph","type":["long","int"]}`), with(2, 8),
			RawReading{SensorID: "s", Timestamp: Some(int64(5)), VolumeVPH: Some(int64(4))},
			"",
		},
		{
			"a branch that does not", rec(base + `,{"name":"volume_vph","type":["long","int"]}`), with(0, 8), reading,
			"a long does not fit",
		},
		{
			"an int of more than 32 bits", rec(base + `,{"name":"volume_vph","type":"int"}`),
			with(long(math.MaxInt32 + 1)...), reading, "is not an int",
		},
		{"id too long", rec(base), append(appendString(nil, strings.Repeat("x", 257)), 0), reading, "more than 256"},
		{"id not UTF-8", rec(base), append(appendString(nil, "\xff"), 0), reading, "not UTF-8"},
		{
			"a trillion nulls", rec(base + `,{"name":"x","type":{"type":"array","items":"null"}}`),
			with(append(long(1e12), 0)...), reading, "",
		},
		{"a trillion empty records", rec(base + `,{"name":"x","type":{"type":"array","items":{"type":"record","name":"E",` +
			`"fields":[{"name":"n","type":"null"}]}}}`), with(append(long(1e12), 0)...), reading, ""},
		{
			"a trillion longs", rec(base + `,{"name":"x","type":{"type":"array","items":"long"}}`),
			with(append(long(1e12), 0)...), reading, "ends early",
		},
		{
			"a negative size", rec(base + `,{"name":"x","type":{"type":"map","values":"long"}}`),
			with(append(long(-1), long(-5)...)...), reading, "cannot be passed",
		},
		{
			"the smallest count", rec(base + `,{"name":"x","type":{"type":"array","items":"long"}}`),
			with(append(long(math.MinInt64), long(1<<40)...)...), reading, "cannot be passed",
		},
		{"a list of 63", rec(list), with(deep(63)...), reading, ""}, // the reading is the 64th level
		{"a list of 64", rec(list), with(deep(64)...), reading, "deeper than 64"},
		{
			"a record in itself", rec(base + `,{"name":"x","type":{"type":"record","name":"S",` +
				`"fields":[{"name":"s","type":"S"}]}}`),
			with(), reading, "deeper than 64",
		},
		{"a union of records", `["null",` + rec(base) + `]`, append([]byte{2}, baseBody...), reading, ""},
		{"a union without a record", `["null","string"]`, nil, reading, "no branch of the union fits"},
		{"not a record", `"string"`, nil, reading, "a string does not fit"},
		{"not a schema", `{"type":`, nil, reading, "parse the schema"},
		{"coordinates without longitude", rec(base + `,{"name":"coordinates","type":{"type":"record","name":"C","fields":[` +
			`{"name":"latitude","type":"double"}]}}`), nil, reading, "no field longitude"},
		{
			"enum symbol", rec(base + `,{"name":"x","type":{"type":"enum","name":"E","symbols":["A"]}}`), with(2), reading,
			"symbol 1 of 1",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeWith(tt.schema, tt.body)
			switch {
			case tt.err == "" && err != nil:
				t.Fatal(err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Fatalf("got error %v, want one with %q", err, tt.err)
			case tt.err == "" && !sameRaw(got, tt.want):
				t.Fatalf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// A schema is anybody's text. One that multiplies records without bytes must not multiply work, and one that makes the
// parser fail must not stop the program.
func TestHostileSchemas(t *testing.T) {
	t.Run("records without bytes", func(t *testing.T) {
		// 30 levels of records with ten fields each of the level below: 10^30 fields that take no bytes.
		schema := `{"name":"E0","type":"record","fields":[]}`
		for level := 1; level <= 30; level++ {
			fields := []string{fmt.Sprintf(`{"name":"f0","type":%s}`, schema)}
			for i := 1; i < 10; i++ {
				fields = append(fields, fmt.Sprintf(`{"name":"f%d","type":"E%d"}`, i, level-1))
			}
			schema = fmt.Sprintf(`{"name":"E%d","type":"record","fields":[%s]}`, level, strings.Join(fields, ","))
		}
		schema = `{"type":"record","name":"R","fields":[{"name":"x","type":` + schema +
			`},{"name":"sensor_id","type":"string"},{"name":"timestamp","type":"long"}]}`
		got, err := decodeWith(schema, append(appendString(nil, "s"), 2))
		if err != nil || got.SensorID != "s" {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	for name, schema := range map[string]string{
		"default of an unfinished type": `{"type":"record","name":"R","fields":[{"name":"a","type":"R","default":{}},` +
			`{"name":"b","type":"int"}]}`,
		"too long":      `"` + strings.Repeat(" ", schemaBytesMax) + `"`,
		"deep":          strings.Repeat(`{"type":"array","items":`, 9000) + `"int"` + strings.Repeat(`}`, 9000),
		"null":          `null`,
		"number":        `7`,
		"empty":         ``,
		"name clash":    `[{"type":"record","name":"R","fields":[]},{"type":"fixed","name":"R","size":1}]`,
		"negative size": `{"type":"fixed","name":"F","size":-5}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := compile(schema); err == nil {
				t.Error("no error")
			}
		})
	}
}

// Writers' schemas do not know each other's names: each is parsed as if it were the first.
func TestSchemasAreApart(t *testing.T) {
	const first = `{"type":"record","name":"R","fields":[{"name":"sensor_id","type":"string"},{"name":"timestamp",` +
		`"type":"long"},{"name":"x","type":{"type":"fixed","name":"Other","size":1}}]}`
	if _, err := compile(first); err != nil {
		t.Fatal(err)
	}
	second := strings.Replace(first, `{"type":"fixed","name":"Other","size":1}`, `"Other"`, 1)
	if !json.Valid([]byte(second)) {
		t.Fatal(second)
	}
	if _, err := compile(second); err == nil {
		t.Error("a schema knows a name of another one")
	}
}

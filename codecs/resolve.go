package codecs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hamba/avro/v2"
)

// schemaBytesMax bounds the text of a writer schema; a longer one does not resolve.
const schemaBytesMax = 1 << 20

// readerField is a field of RawSchema.
type readerField struct {
	name     string
	to       target
	required bool // it has no default, so a writer must have it
}

// The fields of RawSchema, with the places of their values; a test compares them with the schema.
var (
	readingFields = []readerField{
		{"sensor_id", toSensorID, true},
		{"timestamp", toTimestamp, true},
		{"speed_mph", toSpeed, false},
		{"volume_vph", toVolume, false},
		{"occupancy_percent", toOccupancy, false},
		{"coordinates", toCoordinates, false},
	}
	coordinatesFields = []readerField{
		{"latitude", toLatitude, true},
		{"longitude", toLongitude, true},
	}
)

// nullable tells whether RawSchema allows null in this place.
func (t target) nullable() bool {
	return t == toSpeed || t == toVolume || t == toOccupancy || t == toCoordinates
}

// takes tells whether the place holds a value of this type, by Avro's promotions.
func (t target) takes(do action) bool {
	switch t {
	case toSensorID:
		return do == readBytes
	case toTimestamp:
		return do == readInt || do == readLong
	case toVolume:
		return do == readInt
	case toSpeed, toOccupancy, toLatitude, toLongitude:
		return do == readInt || do == readLong || do == readFloat || do == readDouble
	default:
		return false
	}
}

// compile resolves a writer schema against RawSchema, as Avro defines it
// (https://avro.apache.org/docs/1.12.0/specification/#schema-resolution), into the steps that read its records. Three
// things are more lenient than the letter, none of which can change a value: names of records are not compared; a
// writer field matches by one of its own aliases where no field has the name itself; and a writer's union is resolved
// branch by branch, so that a branch that does not fit is an error of the message that uses it. Resolution knows no
// units, but a time in the writer's timestamp-micros or -nanos is brought to milliseconds.
func compile(schema string) (*step, error) {
	if len(schema) > schemaBytesMax {
		return nil, fmt.Errorf("the schema has %d bytes, more than %d", len(schema), schemaBytesMax)
	}
	writer, err := parseSchema(schema)
	if err != nil {
		return nil, fmt.Errorf("parse the schema: %w", err)
	}
	c := compiler{skips: make(map[*avro.RecordSchema]*step)}
	root, err := c.resolve(writer, toReading)
	if err != nil {
		return nil, fmt.Errorf("resolve the schema to gantry.TrafficReading: %w", err)
	}
	return root, nil
}

// parseSchema parses with a cache of its own: in the parser's global one, a name that one writer defines would be known
// to every other. A panic is an answer too, since the text is anybody's: a default for a field of a type that is still
// being defined makes the parser follow a nil pointer.
func parseSchema(text string) (s avro.Schema, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("the parser failed: %v", p)
		}
	}()
	return avro.ParseWithCache(text, "", &avro.SchemaCache{})
}

type compiler struct {
	skips map[*avro.RecordSchema]*step // how to skip a record; filled before its fields, since types may be recursive
}

// resolve returns the step that reads a value of schema w into the place t.
func (c *compiler) resolve(w avro.Schema, t target) (*step, error) {
	switch w := deref(w).(type) {
	case *avro.UnionSchema:
		return c.resolveUnion(w, t)
	case *avro.NullSchema:
		if t.nullable() {
			return &step{do: readNothing}, nil
		}
	case *avro.RecordSchema:
		switch t {
		case toReading:
			return c.resolveRecord(w, readingFields)
		case toCoordinates:
			return c.resolveRecord(w, coordinatesFields)
		}
	case *avro.PrimitiveSchema:
		if s := primitive(w); t.takes(s.do) {
			s.to = t
			return s, nil
		}
	}
	return nil, fmt.Errorf("a %s does not fit", deref(w).Type())
}

// resolveUnion fails where no branch fits.
func (c *compiler) resolveUnion(w *avro.UnionSchema, t target) (*step, error) {
	s := &step{do: readUnion}
	fits := false
	for _, branch := range w.Types() {
		b, err := c.resolve(branch, t)
		if err != nil {
			b = &step{do: refuse, err: fmt.Errorf("union branch %d: %w", len(s.steps), err)}
		}
		fits = fits || err == nil
		s.steps = append(s.steps, b)
	}
	if !fits {
		return nil, errors.New("no branch of the union fits")
	}
	return s, nil
}

func (c *compiler) resolveRecord(w *avro.RecordSchema, want []readerField) (*step, error) {
	wanted := make(map[*avro.Field]readerField)
	for _, rf := range want {
		switch wf := writerField(w, rf.name, wanted); {
		case wf != nil:
			wanted[wf] = rf
		case rf.required:
			return nil, fmt.Errorf("it has no field %s", rf.name)
		}
	}
	s := &step{do: readRecord}
	for _, wf := range w.Fields() {
		rf, ok := wanted[wf]
		if !ok {
			s.add(c.skip(wf.Type()))
			continue
		}
		field, err := c.resolve(wf.Type(), rf.to)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", rf.name, err)
		}
		s.add(field)
	}
	return s, nil
}

// writerField finds the writer's field of this name, or else the first one that has it as an alias and is not taken.
func writerField(w *avro.RecordSchema, name string, taken map[*avro.Field]readerField) *avro.Field {
	for _, f := range w.Fields() {
		if f.Name() == name {
			return f
		}
	}
	for _, f := range w.Fields() {
		if _, ok := taken[f]; !ok && slices.Contains(f.Aliases(), name) {
			return f
		}
	}
	return nil
}

// add appends a field, unless it takes no bytes.
func (s *step) add(field *step) {
	if field.do != readNothing {
		s.steps = append(s.steps, field)
	}
}

// skip returns the step that passes a value of schema w.
func (c *compiler) skip(w avro.Schema) *step {
	switch w := deref(w).(type) {
	case *avro.PrimitiveSchema:
		return primitive(w)
	case *avro.RecordSchema:
		return c.skipRecord(w)
	case *avro.UnionSchema:
		s := &step{do: readUnion}
		for _, branch := range w.Types() {
			s.steps = append(s.steps, c.skip(branch))
		}
		return s
	case *avro.ArraySchema:
		return &step{do: readArray, steps: []*step{c.skip(w.Items())}}
	case *avro.MapSchema:
		return &step{do: readMap, steps: []*step{c.skip(w.Values())}}
	case *avro.EnumSchema:
		return &step{do: readEnum, n: int64(len(w.Symbols()))}
	case *avro.FixedSchema:
		if w.Size() != 0 {
			return &step{do: readFixed, n: int64(w.Size())}
		}
	}
	return &step{do: readNothing}
}

// skipRecord finds a record that is still being compiled in c.skips. It then counts as taking bytes, which is right: a
// value that holds another one of its own type, with neither union, array nor map between, never ends.
func (c *compiler) skipRecord(w *avro.RecordSchema) *step {
	if s, ok := c.skips[w]; ok {
		return s
	}
	s := &step{do: readRecord}
	c.skips[w] = s
	for _, f := range w.Fields() {
		s.add(c.skip(f.Type()))
	}
	if len(s.steps) == 0 {
		s.do = readNothing
	}
	return s
}

func primitive(w *avro.PrimitiveSchema) *step {
	switch w.Type() {
	case avro.Boolean:
		return &step{do: readBoolean}
	case avro.Int:
		return &step{do: readInt, n: 1}
	case avro.Long:
		return &step{do: readLong, n: unitsPerMilli(w)}
	case avro.Float:
		return &step{do: readFloat}
	case avro.Double:
		return &step{do: readDouble}
	default:
		return &step{do: readBytes}
	}
}

// unitsPerMilli is how many units of a long's logical type make a millisecond. A time without one, or with another, is
// taken as milliseconds. Local timestamps have no zone; UTC is as good a guess as any, and the one that Avro's own
// resolution makes. The parser knows no nanoseconds and leaves them among the properties.
func unitsPerMilli(w *avro.PrimitiveSchema) int64 {
	name, _ := w.Prop("logicalType").(string)
	if l := w.Logical(); l != nil {
		name = string(l.Type())
	}
	switch name {
	case "timestamp-micros", "local-timestamp-micros":
		return 1e3
	case "timestamp-nanos", "local-timestamp-nanos":
		return 1e6
	default:
		return 1
	}
}

func deref(s avro.Schema) avro.Schema {
	if ref, ok := s.(*avro.RefSchema); ok {
		return ref.Schema()
	}
	return s
}

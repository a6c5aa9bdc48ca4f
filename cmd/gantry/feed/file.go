package feed

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// File is a file of readings that was read once and is in order.
type File struct {
	Path   string
	Format Format
	ID     string
	Info   Info
}

// ReadFile reads a file to its end, so that every mistake in it is found before the first of its rows is published. An
// empty format is detected.
func ReadFile(path string, format Format) (*File, error) {
	if format == "" {
		var err error
		if format, err = Detect(path); err != nil {
			return nil, err
		}
	}
	id, err := FileID(path, format)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, Format: format, ID: id}
	src, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if f.Info, err = Scan(src); err != nil {
		return nil, err
	}
	if f.Info.Rows == 0 {
		return nil, &FileError{Path: path, Message: "holds no readings"}
	}
	return f, nil
}

// Open starts the file's rows from the first.
func (f *File) Open() (Source, error) { return Open(f.Path, f.Format) }

// Sensors are those that belong to the file; see SensorsOf.
func (f *File) Sensors() ([]codecs.Sensor, error) { return SensorsOf(f.Path, f.Format, f.Info) }

// ReplayOptions say how a file is replayed.
type ReplayOptions struct {
	Topic        string
	Wire         Wire
	SchemaID     int32 // of codecs.RawSchema, for WireAvro
	Speed        Speed
	Rebase       Rebase
	WindowLength time.Duration
	Resume       bool            // go on where an earlier replay of the file stopped, if there was one
	Sensors      []codecs.Sensor // published first, unless an earlier replay goes on
	Clock        Clock
}

// NewReplay readies a publisher for the rows of f.Open. It fails with a *RetentionError where the topic would delete
// the first of them at once.
func NewReplay(ctx context.Context, conn []kgo.Opt, f *File, o ReplayOptions) (*Publisher, error) {
	var pos Position
	if o.Resume {
		var err error
		if pos, err = Resume(ctx, conn, o.Topic, f.ID); err != nil {
			return nil, err
		}
	}
	shift := pos.Shift
	if !pos.Found {
		shift = o.Rebase.Shift(f.Info.Last, o.Clock.Now(), o.WindowLength)
	}
	p, err := NewPublisher(ctx, conn, PublishOptions{
		Topic: o.Topic, Feed: Identity{ID: f.ID, Shift: shift}, Wire: o.Wire, SchemaID: o.SchemaID, Speed: o.Speed,
		Clock: o.Clock, Position: pos,
	})
	if err != nil || pos.Found {
		return p, err
	}
	if err := p.begin(ctx, time.UnixMilli(f.Info.First+shift), o.Sensors); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// begin is what comes before the first row of a feed that goes on nowhere.
func (p *Publisher) begin(ctx context.Context, first time.Time, sensors []codecs.Sensor) error {
	if err := p.CheckRetention(ctx, first); err != nil {
		return err
	}
	if err := p.PublishSensors(ctx, sensors); err != nil {
		return fmt.Errorf("publish the sensors: %w", err)
	}
	return nil
}

package store

import (
	"errors"
	"fmt"
	"hash"

	"github.com/lovoo/goka"
)

// errGokaEmit refuses goka's own way of emitting, which knows no rounds.
var errGokaEmit = errors.New("outputs and values go through the lane, not through the goka context")

// ProducerBuilder gives goka the engine as its producer, so that nothing can leave past the rounds.
func (e *Engine) ProducerBuilder() goka.ProducerBuilder {
	return func([]string, string, func() hash.Hash32) (goka.Producer, error) { return refuse{}, nil }
}

// refuse is the goka producer of a group whose outputs go through lanes: an emit that bypasses the order is an error.
type refuse struct{}

func (refuse) Emit(topic string, _ string, _ []byte) *goka.Promise {
	promise, finish := goka.NewPromiseWithFinisher()
	finish(nil, fmt.Errorf("emit to %s: %w", topic, errGokaEmit))
	return promise
}

func (p refuse) EmitWithHeaders(topic, key string, value []byte, _ goka.Headers) *goka.Promise {
	return p.Emit(topic, key, value)
}

func (refuse) Close() error { return nil }

var _ goka.Producer = refuse{}

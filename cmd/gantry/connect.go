package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
	"gantry/codecs"
)

// registryTimeout bounds the wait for the registry: a command says that it does not answer, and ends.
const registryTimeout = 10 * time.Second

// connect gives what a command that publishes readings needs: how to reach the brokers, and for Avro the id of the
// schema.
func connect(ctx context.Context, c *config.Config, wire feed.Wire) (conn []kgo.Opt, schemaID int32, err error) {
	if conn, err = feed.Connection(c.Kafka); err != nil {
		return nil, 0, usageError{err}
	}
	if wire == feed.WireAvro {
		if schemaID, err = registerRaw(ctx, c); err != nil {
			return nil, 0, fmt.Errorf("register the schema of %s at the registry: %w (--wire json needs none)",
				c.Topics.Raw, err)
		}
	}
	return conn, schemaID, nil
}

// registerRaw returns the id of codecs.RawSchema; a registry gives an equal schema the id that it has.
func registerRaw(ctx context.Context, c *config.Config) (int32, error) {
	opts := []sr.ClientOpt{sr.URLs(c.Registry.URL)}
	if c.Registry.User != "" {
		opts = append(opts, sr.BasicAuth(c.Registry.User, c.Registry.Password))
	}
	client, err := sr.NewClient(opts...)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	s, err := client.CreateSchema(ctx, c.Topics.Raw+"-value", sr.Schema{Schema: codecs.RawSchema})
	return int32(s.ID), err
}

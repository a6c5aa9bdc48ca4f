package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
	"gantry/codecs"
	"gantry/codecs/registry"
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

// registerRaw returns the id of codecs.RawSchema in the subject of traffic-raw, where it is registered if need be.
func registerRaw(ctx context.Context, c *config.Config) (int32, error) {
	o := registry.DefaultOptions()
	o.URL, o.User, o.Password = c.Registry.URL, c.Registry.User, c.Registry.Password
	client, err := registry.NewClient(o)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	return client.EnsureSubject(ctx, c.Topics.Raw+"-value", codecs.RawSchema)
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
	"gantry/codecs"
)

// registryTimeout bounds the wait for the registry: a command says that it does not answer, and ends.
const registryTimeout = 10 * time.Second

// brokers gives the client options that reach the brokers of a configuration, once they answer.
func (c *cli) brokers(ctx context.Context, cfg *config.Config) ([]kgo.Opt, error) {
	k, err := app.KafkaOf(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	return k.Options(), c.reach(ctx, k)
}

// connect gives what a command that publishes readings needs: how to reach the brokers, and for Avro the id of the
// schema.
func (c *cli) connect(
	ctx context.Context, cfg *config.Config, wire feed.Wire,
) (conn []kgo.Opt, schemaID int32, err error) {
	if conn, err = c.brokers(ctx, cfg); err != nil {
		return nil, 0, err
	}
	if wire == feed.WireAvro {
		if schemaID, err = registerRaw(ctx, cfg); err != nil {
			return nil, 0, fmt.Errorf("register the schema of %s at the registry: %w (--wire json needs none)",
				cfg.Topics.Raw, err)
		}
	}
	return conn, schemaID, nil
}

// registerRaw returns the id of codecs.RawSchema in the subject of traffic-raw, where it is registered if need be.
func registerRaw(ctx context.Context, c *config.Config) (int32, error) {
	client, err := app.RegistryOf(c)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	return client.EnsureSubject(ctx, app.TopicsOf(c).RawSubject(), codecs.RawSchema)
}

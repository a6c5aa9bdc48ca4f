package processors

import (
	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// scramClient is SCRAM for sarama, which brings none.
type scramClient struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func newSCRAMClient(mechanism string) func() sarama.SCRAMClient {
	hash := scram.SHA512
	if mechanism == sarama.SASLTypeSCRAMSHA256 {
		hash = scram.SHA256
	}
	return func() sarama.SCRAMClient { return &scramClient{hash: hash} }
}

func (c *scramClient) Begin(user, password, authzID string) error {
	client, err := c.hash.NewClient(user, password, authzID)
	if err != nil {
		return err
	}
	c.ClientConversation = client.NewConversation()
	return nil
}

package processors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Access is what a user must be allowed to do with a topic or a group.
type Access struct {
	Resource   kmsg.ACLResourceType // topic or group
	Name       string
	Operations []kmsg.ACLOperation
}

// Uses are the parts of the pipeline for which Topics.Access answers.
type Uses struct{ Dedup, Window, Archive, Serve bool }

// Access returns all that a user needs for these parts, where the topics are there already: the least that is to be
// granted. (Reading and writing include describing.) A process asks how far each group is, whatever it does itself.
func (t Topics) Access(u Uses) []Access {
	var list []Access
	topic := func(name string, ops ...kmsg.ACLOperation) { list = append(list, topicAccess(name, ops...)) }
	group := func(name goka.Group, member bool) {
		op := kmsg.ACLOperationDescribe
		if member {
			op = kmsg.ACLOperationRead
		}
		list = append(list, Access{kmsg.ACLResourceTypeGroup, string(name), []kmsg.ACLOperation{op}})
	}
	const read, write, describe = kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe
	either := func(read bool, op kmsg.ACLOperation) kmsg.ACLOperation {
		if read {
			return op
		}
		return describe
	}
	topic(string(t.Raw), either(u.Dedup, read))
	events := []kmsg.ACLOperation{either(u.Window || u.Archive, read)}
	if u.Dedup || u.Window {
		events = append(events, write)
	}
	topic(string(t.Events), events...)
	topic(string(t.Rejects), either(u.Dedup, write))
	table := func(name goka.Table, owned, seen bool) {
		switch {
		case owned:
			topic(string(name), read, write)
		default:
			topic(string(name), either(seen, read))
		}
	}
	table(DedupTable, u.Dedup, u.Serve)
	table(WindowTable, u.Window, u.Serve)
	if !t.Keyed {
		if u.Dedup {
			topic(string(DedupLoop), read, write)
		} else {
			topic(string(DedupLoop), describe)
		}
	}
	group(DedupGroup, u.Dedup)
	group(WindowGroup, u.Window)
	group(ArchiveGroup, u.Archive)
	return list
}

// AccessToCheck returns what a user needs to see the topics and their settings, for CheckTopics: of what it may not see
// that cannot tell whether it is as it should be.
func (t Topics) AccessToCheck() []Access {
	var list []Access
	for _, s := range t.Specs(false) {
		list = append(list, topicAccess(s.Name, kmsg.ACLOperationDescribe))
	}
	return list
}

// topicAccess includes the topic's settings, which say how large a message it takes.
func topicAccess(name string, ops ...kmsg.ACLOperation) Access {
	return Access{kmsg.ACLResourceTypeTopic, name, append(ops, kmsg.ACLOperationDescribeConfigs)}
}

// CheckAccess asks the brokers what this user may do. Where something is missing the error names all of it, with the
// command that grants it, and wraps kerr.TopicAuthorizationFailed or kerr.GroupAuthorizationFailed. Brokers that do not
// say what is allowed, and topics that do not exist, are passed over.
func (k Kafka) CheckAccess(ctx context.Context, needs []Access) error {
	client, err := kgo.NewClient(k.Options()...)
	if err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	defer client.Close()
	var missing []Access
	for _, n := range needs {
		allowed, known, err := allowedOperations(ctx, client, n)
		if errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.GroupAuthorizationFailed) {
			known, err = true, nil
		}
		if err != nil {
			return fmt.Errorf("ask what %s may do: %w", k.who(), err)
		}
		if !known {
			continue
		}
		n.Operations = slices.DeleteFunc(slices.Clone(n.Operations), func(op kmsg.ACLOperation) bool {
			return allowed&(1<<op) != 0
		})
		if len(n.Operations) > 0 {
			missing = append(missing, n)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return k.denied(missing)
}

// denied says what is missing.
func (k Kafka) denied(missing []Access) error {
	kind := error(kerr.GroupAuthorizationFailed)
	list := make([]string, len(missing))
	for i, m := range missing {
		ops := make([]string, len(m.Operations))
		for j, op := range m.Operations {
			ops[j] = op.String()
		}
		list[i] = fmt.Sprintf("%s %s %s", strings.Join(ops, "+"), strings.ToLower(m.Resource.String()), m.Name)
		if m.Resource == kmsg.ACLResourceTypeTopic {
			kind = kerr.TopicAuthorizationFailed
		}
	}
	first := missing[0]
	return fmt.Errorf("%s may not %s: grant it, beginning with kafka-acls --add --allow-principal 'User:%s' --operation %s "+
		"--%s '%s': %w", k.who(), strings.Join(list, ", "), k.SASL.User, first.Operations[0],
		strings.ToLower(first.Resource.String()), first.Name, kind)
}

func (k Kafka) who() string {
	if k.SASL.User == "" {
		return "this client"
	}
	return fmt.Sprintf("user %q", k.SASL.User)
}

// allowedOperations returns a bit for each operation.
func allowedOperations(ctx context.Context, client *kgo.Client, n Access) (bits int32, known bool, err error) {
	const omitted = -1 << 31
	var code int16
	if n.Resource == kmsg.ACLResourceTypeTopic {
		req := kmsg.NewPtrMetadataRequest()
		req.IncludeTopicAuthorizedOperations = true
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(n.Name)
		req.Topics = append(req.Topics, topic)
		resp, err := req.RequestWith(ctx, client)
		if err != nil || len(resp.Topics) != 1 {
			return 0, false, err
		}
		code, bits = resp.Topics[0].ErrorCode, resp.Topics[0].AuthorizedOperations
	} else {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.IncludeAuthorizedOperations = true
		req.Groups = []string{n.Name}
		resp, err := req.RequestWith(ctx, client)
		if err != nil || len(resp.Groups) != 1 {
			return 0, false, err
		}
		code, bits = resp.Groups[0].ErrorCode, resp.Groups[0].AuthorizedOperations
	}
	switch err = kerr.ErrorForCode(code); {
	case err == nil, errors.Is(err, kerr.GroupIDNotFound):
		return bits, bits != omitted, nil
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed):
		return 0, true, err
	}
	return 0, false, nil // not there, or its leader is not: whoever uses it says so
}

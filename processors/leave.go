package processors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrLeaving, as the cause with which the context of a process ends, says that it stops for good: it leaves its groups,
// and the others take its partitions over at once. With any other cause its members stay for the session time-out, so
// that a restart moves nothing.
var ErrLeaving = errors.New("this process stops for good")

// leaveTimeout bounds how long a process that stops waits for the coordinator. If that does not answer, its partitions
// move when the session is over.
const leaveTimeout = 2 * time.Second

// Leave takes the client's static member out of the group if ctx has ended with ErrLeaving. What is to be committed has
// been. A client does not leave by itself when its member is static, and a dynamic one leaves when it closes.
//
// The request names the member and not just its instance, so that a successor that has taken the instance over already
// is not thrown out in place of this one.
func (k Kafka) Leave(ctx context.Context, client *kgo.Client, group goka.Group) error {
	if k.Instance == "" || !errors.Is(context.Cause(ctx), ErrLeaving) {
		return nil
	}
	id, _ := client.GroupMetadata()
	if id == "" {
		return nil // it has not joined
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	// First the client stops to be a member: the heartbeat after a leave would find it missing and join again.
	client.AllowRebalance()
	if err := client.LeaveGroupContext(ctx); err != nil {
		return fmt.Errorf("stop the member of %s: %w", group, err)
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = string(group), id
	member := kmsg.NewLeaveGroupRequestMember()
	member.MemberID, member.InstanceID = id, &k.Instance
	member.Reason = kmsg.StringPtr("the instance was stopped for good")
	req.Members = append(req.Members, member)
	resp, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err == nil && len(resp.Members) > 0 {
		err = kerr.ErrorForCode(resp.Members[0].ErrorCode)
	}
	if err != nil && !errors.Is(err, kerr.UnknownMemberID) { // gone already
		return fmt.Errorf("leave %s: %w; its partitions are taken over when the session is over, in %v", group, err,
			sessionTimeout)
	}
	return nil
}

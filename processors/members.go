package processors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Groups are the consumer groups of an installation, in the order of the data. A process is a member of one for each of
// its roles, under one instance name.
var Groups = []goka.Group{DedupGroup, WindowGroup, ArchiveGroup}

// Member is a process in one of the groups, as the group's coordinator knows it. A static member stays for the session
// time-out after its process has ended, and nothing shows it.
type Member struct {
	Group      string  `json:"group"`
	Instance   string  `json:"instance"` // empty for a member that is not static
	ID         string  `json:"member_id"`
	Host       string  `json:"host"`
	Partitions []int32 `json:"partitions"` // of each input of the group
	Lag        int64   `json:"lag"`        // records of these that are not done
}

// ErrNoMember: no group has a member of this instance. Its session may be over, and its partitions be taken over.
var ErrNoMember = errors.New("no such member")

// ErrRuns: the process of a member that was removed runs, and has joined again.
var ErrRuns = errors.New("the process still runs")

// removalWatch is how long a removal waits for the member to come back. A process that runs learns of its removal with
// its next heartbeat, gives up what it had, which takes up to the time of a drain, and joins again.
const removalWatch = 4 * time.Second

// Members lists the members of all groups, by group in the order of the data and instance. settled is false while a
// group hands partitions over: they are nobody's then.
func Members(ctx context.Context, adm *kadm.Client) (members []Member, settled bool, err error) {
	names := make([]string, len(Groups))
	for i, g := range Groups {
		names[i] = string(g)
	}
	described, err := adm.DescribeGroups(ctx, names...)
	if err != nil {
		return nil, false, fmt.Errorf("members of the groups: %w", err)
	}
	settled = true
	for _, name := range names {
		g := described[name]
		if g.Err != nil && !errors.Is(g.Err, kerr.GroupIDNotFound) {
			return nil, false, fmt.Errorf("members of %s: %w", name, g.Err)
		}
		lags, err := memberLag(ctx, adm, g)
		if err != nil {
			return nil, false, err
		}
		settled = settled && (len(g.Members) == 0 || g.State == "Stable")
		of := make([]Member, 0, len(g.Members))
		for _, m := range g.Members {
			member := Member{Group: name, ID: m.MemberID, Host: m.ClientHost, Partitions: []int32{}}
			if m.InstanceID != nil {
				member.Instance = *m.InstanceID
			}
			if a, ok := m.Assigned.AsConsumer(); ok {
				for _, t := range a.Topics {
					member.Partitions = append(member.Partitions, t.Partitions...)
					for _, p := range t.Partitions {
						l, _ := lags.Lookup(t.Topic, p)
						member.Lag += max(0, l.Lag)
					}
				}
			}
			slices.Sort(member.Partitions)
			member.Partitions = slices.Compact(member.Partitions)
			of = append(of, member)
		}
		slices.SortFunc(of, func(a, b Member) int {
			return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.ID, b.ID))
		})
		members = append(members, of...)
	}
	return members, settled, nil
}

// memberLag returns what is not done of what the group's members have.
func memberLag(ctx context.Context, adm *kadm.Client, g kadm.DescribedGroup) (kadm.GroupLag, error) {
	if len(g.Members) == 0 {
		return nil, nil
	}
	commits, err := committedOffsets(ctx, adm, g.Group)
	if err != nil {
		return nil, err
	}
	topics := g.AssignedPartitions().Topics()
	if len(topics) == 0 { // the group hands its partitions over
		return nil, nil
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("beginning of %v: %w", topics, err)
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("end of %v: %w", topics, err)
	}
	return kadm.CalculateGroupLagWithStartOffsets(g, commits, starts, ends), nil
}

// Move is a partition that has changed hands.
type Move struct {
	Group     string `json:"group"`
	Partition int32  `json:"partition"`
	To        string `json:"to"` // an instance, or the id of a member that is not static; empty where there is none
}

// RemoveMember takes an instance whose process has ended out of every group, and returns when the others have what it
// had. A process that runs joins again, which costs its partitions a pause and nothing else: ErrRuns says so. It fails
// with ErrNoMember where there is nothing to remove.
func RemoveMember(ctx context.Context, adm *kadm.Client, instance string) ([]Move, error) {
	before, _, err := Members(ctx, adm)
	if err != nil {
		return nil, err
	}
	before = slices.DeleteFunc(before, func(m Member) bool { return m.Instance != instance })
	if len(before) == 0 {
		return nil, ErrNoMember
	}
	for _, m := range before {
		left, err := adm.LeaveGroup(ctx, kadm.LeaveGroup(m.Group).InstanceIDs(instance).Reason("removed by an operator"))
		if err == nil {
			err = left.Error()
		}
		if err != nil && !errors.Is(err, kerr.UnknownMemberID) { // its session has just ended
			return nil, fmt.Errorf("remove %s from %s: %w", instance, m.Group, err)
		}
	}
	after, err := watchRemoval(ctx, adm, instance)
	if err != nil {
		return nil, err
	}
	return moves(before, after), nil
}

// watchRemoval waits for calm groups, for as long as the instance could come back, and returns their members.
func watchRemoval(ctx context.Context, adm *kadm.Client, instance string) ([]Member, error) {
	watch := time.After(removalWatch)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for watched := false; ; {
		members, settled, err := Members(ctx, adm)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(members, func(m Member) bool { return m.Instance == instance }) {
			return nil, ErrRuns
		}
		if settled && watched {
			return members, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until the others have taken over: %w", ctx.Err())
		case <-watch:
			watched = true
		case <-tick.C:
		}
	}
}

// moves tells who has the partitions that the members had.
func moves(before, after []Member) []Move {
	var all []Move
	for _, b := range before {
		for _, p := range b.Partitions {
			m := Move{Group: b.Group, Partition: p}
			for _, a := range after {
				if a.Group == b.Group && slices.Contains(a.Partitions, p) {
					m.To = cmp.Or(a.Instance, a.ID)
				}
			}
			all = append(all, m)
		}
	}
	return all
}

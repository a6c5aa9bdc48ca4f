package main

import (
	"testing"

	"gantry/processors"
)

// What an operator reads: who has what, and who has it now.
func TestMembersText(t *testing.T) {
	group := string(processors.DedupGroup)
	list := memberList{Members: []processors.Member{
		{Group: group, Instance: "gantry-0", Host: "/10.0.0.7", Partitions: []int32{0, 1, 2}, Lag: 12},
		{Group: group, Instance: "gantry-1", Host: "/10.0.0.8", Partitions: []int32{}},
	}}
	const listed = `GROUP                      INSTANCE  HOST      PARTITIONS  LAG
stream-processor-group-v2  gantry-0  10.0.0.7  0,1,2       12
stream-processor-group-v2  gantry-1  10.0.0.8  -           0
partitions are changing hands`
	if got := list.String(); got != listed {
		t.Errorf("list:\n%s", got)
	}
	if got := (memberList{Settled: true}).String(); got != "GROUP  INSTANCE  HOST  PARTITIONS  LAG\nno process is a member of any group" {
		t.Errorf("list of nobody:\n%s", got)
	}
	gone := removal{Instance: "gantry-1", Moved: []processors.Move{
		{Group: group, Partition: 3, To: "gantry-0"}, {Group: group, Partition: 4},
	}}
	const moved = `gantry-1 is removed
stream-processor-group-v2: partition 3 is now with gantry-0
stream-processor-group-v2: partition 4 is now with nobody: no process is left`
	if got := gone.String(); got != moved {
		t.Errorf("removal:\n%s", got)
	}
}

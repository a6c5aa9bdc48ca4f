//go:build unix

package main

import (
	"os"
	"syscall"
)

func init() { leaveSignals = []os.Signal{syscall.SIGUSR1} }

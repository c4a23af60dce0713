package main

import "syscall"

// endWithThisProcess has the kernel kill a child when its parent is gone; also one that is paused, which
// could not see its pipe close.
func endWithThisProcess() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

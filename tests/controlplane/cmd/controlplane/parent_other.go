//go:build !linux

package main

import "syscall"

// endWithThisProcess: elsewhere a child sees its pipe close.
func endWithThisProcess() *syscall.SysProcAttr {
	return nil
}

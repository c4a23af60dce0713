package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
)

// answer is what a command on stdin gets: one line.
type answer struct {
	OK bool `json:"ok"`
	// Why not.
	Error string `json:"error,omitempty"`
	// For `status`: each component.
	Components map[string]status `json:"components,omitempty"`
}

type status struct {
	State string `json:"state"`
	Pid   int    `json:"pid,omitempty"`
}

// readCommands hands lines on, and cancels everything when the other end is closed.
func readCommands(stdin io.Reader, lines chan<- string, cancel context.CancelFunc) {
	scanner := bufio.NewScanner(stdin)
	for scanner.Scan() {
		lines <- scanner.Text()
	}
	cancel()
}

// obey carries out `status`, or one of start, stop, kill, pause, resume on a component: `etcd pause`.
func (c *cluster) obey(ctx context.Context, line string) answer {
	words := strings.Fields(line)
	if len(words) == 1 && words[0] == "status" {
		return answer{OK: true, Components: c.status()}
	}
	if len(words) != 2 {
		return answer{Error: fmt.Sprintf("%q: say `status`, or a component and start, stop, kill, pause or resume", line)}
	}
	if err := c.act(ctx, words[0], words[1]); err != nil {
		return answer{Error: fmt.Sprintf("%s: %v", line, err)}
	}
	return answer{OK: true}
}

func (c *cluster) act(ctx context.Context, name, verb string) error {
	component, known := c.processes[name]
	if !known {
		return fmt.Errorf("there is no such component here: etcd, apiserver, manager, scheduler, kwok")
	}
	switch verb {
	case "start":
		if err := component.start(); err != nil {
			return err
		}
		return c.waitFor(ctx, name)
	case "stop":
		return component.stop()
	case "kill":
		return component.kill()
	case "pause":
		return component.pause()
	case "resume":
		return component.resume()
	default:
		return fmt.Errorf("components can start, stop, kill, pause, resume")
	}
}

func (c *cluster) status() map[string]status {
	all := make(map[string]status, len(c.processes))
	for name, component := range c.processes {
		state, pid := component.state()
		all[name] = status{State: state, Pid: pid}
	}
	return all
}

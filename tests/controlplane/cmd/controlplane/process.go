package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A component that is told to stop may take this long; then it is killed. What is being answered is answered in
// a second; an API server would go on waiting for its watches, whose clients never end them, for a minute.
const stopWithin = 3 * time.Second

// process is one component: a program, its flags, and whether it runs.
type process struct {
	program   string
	arguments []string
	log       *cappedFile

	command *exec.Cmd
	stdin   io.Closer
	paused  bool
	// Closed when it has ended.
	done chan struct{}
}

func (p *process) running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) start() error {
	if p.running() {
		return fmt.Errorf("it runs already")
	}
	p.command = exec.Command(p.program, p.arguments...)
	p.command.Stdout = p.log
	p.command.Stderr = p.log
	p.command.SysProcAttr = endWithThisProcess()
	stdin, err := p.command.StdinPipe()
	if err != nil {
		return err
	}
	if err := p.command.Start(); err != nil {
		return err
	}
	p.stdin = stdin
	p.paused = false
	done := make(chan struct{})
	p.done = done
	go func(command *exec.Cmd) {
		_ = command.Wait()
		close(done)
	}(p.command)
	return nil
}

func (p *process) signal(signal syscall.Signal) error {
	if !p.running() {
		return fmt.Errorf("it does not run")
	}
	return p.command.Process.Signal(signal)
}

// stop asks first. A paused process cannot hear: it is killed.
func (p *process) stop() error {
	if p.paused {
		return p.kill()
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopWithin):
		return p.kill()
	}
}

// kill returns when it is gone, so that whoever starts it again finds its port free.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

func (p *process) pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	p.paused = true
	return nil
}

func (p *process) resume() error {
	if err := p.signal(syscall.SIGCONT); err != nil {
		return err
	}
	p.paused = false
	return nil
}

// state in one word, and the process id while there is one.
func (p *process) state() (string, int) {
	switch {
	case !p.running():
		return "stopped", 0
	case p.paused:
		return "paused", p.command.Process.Pid
	default:
		return "running", p.command.Process.Pid
	}
}

// What a component may write before the rest is dropped. At its default verbosity a component writes some
// 100 KB an hour; one that loops on an error would fill the disk.
const logBytesMax = 64 << 20

// cappedFile keeps the beginning of what is written to it.
type cappedFile struct {
	mutex sync.Mutex
	file  *os.File
	left  int
}

func newCappedFile(path string) (*cappedFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &cappedFile{file: file, left: logBytesMax}, nil
}

func (f *cappedFile) Write(bytes []byte) (int, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	kept := min(len(bytes), f.left)
	f.left -= kept
	if _, err := f.file.Write(bytes[:kept]); err != nil {
		return 0, err
	}
	// The rest counts as written: a component must not fail for it.
	return len(bytes), nil
}

// tail is the end of the log, for an error's text.
func (f *cappedFile) tail() string {
	text, err := os.ReadFile(f.file.Name())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

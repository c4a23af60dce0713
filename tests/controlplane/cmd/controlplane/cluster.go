package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// How often a port that was free may be taken by somebody else before the component has it.
const startsMax = 3

// How long a component may take until it answers. Two busy cores need some 15 s for all; this is for worse.
const answersWithin = 120 * time.Second

// How often a component is asked whether it answers yet.
const askEvery = 50 * time.Millisecond

type options struct {
	directory string
	assets    string
	bare      bool
	gpuNodes  int
	gpus      int
}

// cluster is its components by their short names, and where they answer.
type cluster struct {
	options   options
	authority *authority
	// The components in the order of their starts.
	order     []string
	processes map[string]*process

	etcdPort      int
	apiserverPort int
	client        *kubernetes.Clientset
}

func newCluster(options options) (*cluster, error) {
	directory, err := filepath.Abs(options.directory)
	if err != nil {
		return nil, err
	}
	options.directory = directory
	if err := os.MkdirAll(filepath.Join(directory, "logs"), 0o700); err != nil {
		return nil, err
	}
	c := &cluster{options: options, processes: map[string]*process{}}
	if c.authority, err = newAuthority(directory); err != nil {
		return nil, err
	}
	if err := c.authority.server(); err != nil {
		return nil, err
	}
	if err := c.authority.serviceAccounts(); err != nil {
		return nil, err
	}
	return c, c.writeConfiguration()
}

// start starts every component and returns when a pod could be made.
func (c *cluster) start(ctx context.Context) error {
	if err := c.startStore(ctx); err != nil {
		return err
	}
	if c.options.bare {
		return nil
	}
	for _, name := range []string{"manager", "scheduler", "kwok"} {
		if err := c.launch(ctx, name); err != nil {
			return err
		}
	}
	return c.makeNodes(ctx)
}

// startStore starts etcd and the API server. Their ports are chosen here, since both print theirs nowhere; so
// another program can be faster, and then it is tried again with others.
func (c *cluster) startStore(ctx context.Context) error {
	var err error
	for range startsMax {
		if err = c.choosePorts(); err != nil {
			return err
		}
		if err = c.launch(ctx, "etcd"); err == nil {
			err = c.launch(ctx, "apiserver")
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		c.endAll()
	}
	return err
}

// choosePorts takes two free ports, makes the clients that use them, and lets them go.
func (c *cluster) choosePorts() error {
	var listeners [2]net.Listener
	for i := range listeners {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer listener.Close()
		listeners[i] = listener
	}
	c.etcdPort = listeners[0].Addr().(*net.TCPAddr).Port
	c.apiserverPort = listeners[1].Addr().(*net.TCPAddr).Port
	return c.writeClients()
}

func (c *cluster) url() string {
	return fmt.Sprintf("https://127.0.0.1:%d", c.apiserverPort)
}

// writeClients makes a user and a kubeconfig for the administrator and for each component.
func (c *cluster) writeClients() error {
	for _, user := range []struct {
		file, name string
		groups     []string
	}{
		{"admin", "test-admin", []string{"system:masters"}},
		{"manager", "system:kube-controller-manager", nil},
		{"scheduler", "system:kube-scheduler", nil},
		{"kwok", "test-kwok", []string{"system:masters"}},
	} {
		if err := c.authority.client(user.file, user.name, user.groups, c.url()); err != nil {
			return err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.authority.path("admin.kubeconfig"))
	if err != nil {
		return err
	}
	// Without the limits that a client has by itself: this one makes nodes.
	config.QPS = -1
	c.client, err = kubernetes.NewForConfig(rest.AddUserAgent(config, "tidegate-controlplane"))
	return err
}

// launch starts a component for the first time and waits until it answers.
func (c *cluster) launch(ctx context.Context, name string) error {
	program, arguments, err := c.commandLine(name)
	if err != nil {
		return err
	}
	log, err := newCappedFile(filepath.Join(c.options.directory, "logs", name+".log"))
	if err != nil {
		return err
	}
	if _, known := c.processes[name]; !known {
		c.order = append(c.order, name)
	}
	c.processes[name] = &process{program: program, arguments: arguments, log: log}
	if err := c.processes[name].start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	return c.waitFor(ctx, name)
}

// waitFor asks until the component answers, has ended, or took too long.
func (c *cluster) waitFor(ctx context.Context, name string) error {
	component := c.processes[name]
	deadline := time.After(answersWithin)
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		err := c.ask(ctx, name)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-component.done:
			return fmt.Errorf("%s ended; its log says:\n%s", name, component.log.tail())
		case <-deadline:
			return fmt.Errorf("%s has not answered for %s (%w); its log says:\n%s", name, answersWithin, err, component.log.tail())
		case <-tick.C:
		}
	}
}

func (c *cluster) ready() ready {
	directory := c.options.directory
	return ready{
		Kubeconfig: c.authority.path("admin.kubeconfig"),
		Apiserver:  c.url(),
		Directory:  directory,
		Audit:      filepath.Join(directory, "logs", auditFile),
	}
}

// endAll kills what runs, last started first. Nothing is asked to stop: nobody will read what it would save.
func (c *cluster) endAll() {
	for i := len(c.order) - 1; i >= 0; i-- {
		// One that has ended cannot be killed, and that is as good.
		_ = c.processes[c.order[i]].kill()
	}
}

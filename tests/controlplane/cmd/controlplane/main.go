// Command controlplane is a Kubernetes cluster for tests: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler and KWOK on loopback, as published, each a process of this one program.
//
// It writes certificates, a kubeconfig and logs into a directory, says on stdout when it is ready, obeys
// commands on stdin, and ends with everything it started when stdin ends. See README.md beside go.mod.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func init() {
	// Linux ends a child with the thread that started it. The main thread is the one that lives as long as
	// the program, so main stays on it and starts everything.
	runtime.LockOSThread()
}

func main() {
	if len(os.Args) > 1 && runComponent(os.Args[1], os.Args[2:]) {
		return
	}
	if err := supervise(); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

// endWithParent ends a component when the supervisor is gone, however it went: the pipe that it holds closes.
func endWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// ready is the one line that says the cluster answers.
type ready struct {
	Kubeconfig string `json:"kubeconfig"`
	Apiserver  string `json:"apiserver"`
	Directory  string `json:"directory"`
	Audit      string `json:"audit"`
}

func supervise() error {
	directory := flag.String("dir", "", "where certificates, the kubeconfig, logs and etcd's data go and stay; without it in a temporary directory")
	assets := flag.String("assets", "", "take etcd and kube-apiserver from this directory, as KUBEBUILDER_ASSETS names it")
	bare := flag.Bool("bare", false, "only etcd and kube-apiserver: objects are stored, nothing acts on them")
	gpuNodes := flag.Int("gpu-nodes", 2, "how many fake nodes with GPUs")
	gpus := flag.Int("gpus", 4, "how many GPUs each of them has")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is neither a flag nor a component", flag.Arg(0))
	}
	if *directory == "" {
		temporary, err := os.MkdirTemp("", "tidegate-cluster-")
		if err != nil {
			return err
		}
		// After everything that writes there has ended.
		defer os.RemoveAll(temporary)
		*directory = temporary
	}

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	lines := make(chan string)
	go readCommands(os.Stdin, lines, cancel)

	cluster, err := newCluster(options{*directory, *assets, *bare, *gpuNodes, *gpus})
	if err != nil {
		return err
	}
	defer cluster.endAll()
	if err := cluster.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	answers := json.NewEncoder(os.Stdout)
	if err := answers.Encode(cluster.ready()); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			if err := answers.Encode(cluster.obey(ctx, line)); err != nil {
				return err
			}
		}
	}
}

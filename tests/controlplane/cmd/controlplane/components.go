package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/signals"
)

// The programs, as they are called where they are published.
const (
	etcdName      = "etcd"
	apiserverName = "kube-apiserver"
	managerName   = "kube-controller-manager"
	schedulerName = "kube-scheduler"
	kwokName      = "kwok"
)

// components are compiled into this program and run as processes of it, one each: only a process can be
// killed, stopped and continued, which is what the tests of faults do.
var components = map[string]func(){
	etcdName:      func() { etcdmain.Main(os.Args) },
	apiserverName: func() { runCobra(apiserver.NewAPIServerCommand()) },
	managerName:   func() { runCobra(manager.NewControllerManagerCommand()) },
	schedulerName: func() { runCobra(scheduler.NewSchedulerCommand()) },
	kwokName:      runKwok,
}

// runComponent is the component until it ends; its flags are those of the published program. It says whether
// there is one of this name.
func runComponent(name string, arguments []string) bool {
	run, known := components[name]
	if !known {
		return false
	}
	go endWithParent()
	// Cobra and KWOK read their flags from here.
	os.Args = append([]string{name}, arguments...)
	run()
	return true
}

func runCobra(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

// runKwok keeps to the order of KWOK's own main: its flags for logs and configuration are read first, because
// its command takes its defaults from them.
func runKwok() {
	// The other components have put flags of theirs into the one that cobra adds to every command's; among them
	// a --version that is not cobra's.
	pflag.CommandLine = pflag.NewFlagSet(kwokName, pflag.ExitOnError)
	flags := pflag.NewFlagSet("global", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	ctx, _ := kwoklog.InitFlags(signals.SetupSignalContext(), flags)
	ctx, err := kwokconfig.InitFlags(ctx, flags)
	if err == nil {
		command := kwok.NewCommand(ctx)
		command.PersistentFlags().AddFlagSet(flags)
		err = command.ExecuteContext(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kwok:", err)
		os.Exit(1)
	}
}

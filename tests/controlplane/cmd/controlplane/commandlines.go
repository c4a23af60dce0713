package main

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	nodelease "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
)

// Who wrote what, as JSON lines: the API server's audit log, of writes only.
const auditFile = "audit.log"

//go:embed audit-policy.yaml
var auditPolicy string

//go:embed pods.yaml
var podStages string

// writeConfiguration writes the files that flags below name.
func (c *cluster) writeConfiguration() error {
	stages := nodefast.DefaultNodeInit + "\n---\n" + nodelease.DefaultNodeHeartbeatWithLease + "\n---\n" + podStages
	if err := os.WriteFile(c.authority.path("stages.yaml"), []byte(stages), 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.authority.path("audit-policy.yaml"), []byte(auditPolicy), 0o600)
}

// commandLine is the program of a component and its flags.
func (c *cluster) commandLine(name string) (string, []string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	of := func(published string, flags []string) (string, []string, error) {
		if c.options.assets != "" && (published == etcdName || published == apiserverName) {
			return filepath.Join(c.options.assets, published), flags, nil
		}
		return own, append([]string{published}, flags...), nil
	}
	switch name {
	case "etcd":
		return of(etcdName, c.etcdFlags())
	case "apiserver":
		return of(apiserverName, c.apiserverFlags())
	case "manager":
		return of(managerName, c.managerFlags())
	case "scheduler":
		return of(schedulerName, c.schedulerFlags())
	case "kwok":
		return of(kwokName, c.kwokFlags())
	default:
		return "", nil, fmt.Errorf("no component is called %s", name)
	}
}

func (c *cluster) etcdURL() string {
	return fmt.Sprintf("http://127.0.0.1:%d", c.etcdPort)
}

func (c *cluster) etcdFlags() []string {
	return []string{
		"--data-dir=" + c.authority.path("etcd"),
		"--listen-client-urls=" + c.etcdURL(),
		"--advertise-client-urls=" + c.etcdURL(),
		// It has no peers; the system gives the port.
		"--listen-peer-urls=http://127.0.0.1:0",
		// Nothing here outlives the machine's next start.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func (c *cluster) apiserverFlags() []string {
	flags := []string{
		"--etcd-servers=" + c.etcdURL(),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.apiserverPort),
		// The Service `kubernetes` cannot have a loopback address behind it, and nobody here needs it.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.0.0.0/16",
		"--tls-cert-file=" + c.authority.path("apiserver.crt"),
		"--tls-private-key-file=" + c.authority.path("apiserver.key"),
		"--client-ca-file=" + c.authority.path("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.authority.path("service-accounts.key"),
		"--service-account-signing-key-file=" + c.authority.path("service-accounts.key"),
		"--authorization-mode=RBAC",
		// As some distributions do: who makes a Job that keeps its owner from going must be allowed to.
		"--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
		"--audit-policy-file=" + c.authority.path("audit-policy.yaml"),
		"--audit-log-path=" + filepath.Join(c.options.directory, "logs", auditFile),
		// Two files of 256 MB: 10,000 objects written 50 times each, at 500 bytes a line.
		"--audit-log-maxsize=256",
		"--audit-log-maxbackup=1",
	}
	if c.options.bare {
		// Without a controller manager no namespace gets its default account, and pods would be refused.
		flags = append(flags, "--disable-admission-plugins=ServiceAccount")
	}
	return flags
}

func (c *cluster) managerFlags() []string {
	return []string{
		"--kubeconfig=" + c.authority.path("manager.kubeconfig"),
		"--service-account-private-key-file=" + c.authority.path("service-accounts.key"),
		"--root-ca-file=" + c.authority.path("ca.crt"),
		"--use-service-account-credentials",
		"--leader-elect=false",
		// It serves nothing.
		"--secure-port=0",
		// 10,000 Deployments at the default of 20 calls a second would take ten minutes.
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}
}

func (c *cluster) schedulerFlags() []string {
	return []string{
		"--kubeconfig=" + c.authority.path("scheduler.kubeconfig"),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}
}

func (c *cluster) kwokFlags() []string {
	return []string{
		"--kubeconfig=" + c.authority.path("kwok.kubeconfig"),
		"--config=" + c.authority.path("stages.yaml"),
		"--manage-all-nodes=false",
		"--manage-nodes-with-annotation-selector=" + fakeNode + "=fake",
		"--node-lease-duration-seconds=40",
		// An address that leads nowhere, as 192.0.2.0/24 is for documentation.
		"--node-ip=192.0.2.1",
		"--cidr=10.1.0.0/16",
	}
}

// ask is nil when a component answers.
func (c *cluster) ask(ctx context.Context, name string) error {
	switch name {
	case "etcd":
		return c.askEtcd(ctx)
	case "apiserver":
		return c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	case "manager":
		// What a pod needs before it can be made.
		_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	default:
		// They serve nothing. What they are for shows that they work: nodes become ready, pods get nodes.
		return nil
	}
}

func (c *cluster) askEtcd(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.etcdURL()+"/health", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd's /health says %s", response.Status)
	}
	return nil
}

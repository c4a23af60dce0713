package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Nodes with this annotation are KWOK's to keep alive.
const fakeNode = "kwok.x-k8s.io/node"

// makeNodes makes the nodes with GPUs and waits until pods can be put there.
func (c *cluster) makeNodes(ctx context.Context) error {
	for number := range c.options.gpuNodes {
		if err := c.makeNode(ctx, fmt.Sprintf("gpu-%d", number)); err != nil {
			return err
		}
	}
	deadline := time.After(answersWithin)
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		waiting, err := c.nodesNotReady(ctx)
		if err == nil && len(waiting) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.processes["kwok"].done:
			return fmt.Errorf("kwok ended; its log says:\n%s", c.processes["kwok"].log.tail())
		case <-deadline:
			return fmt.Errorf("nodes %v were not ready in %s (%w)", waiting, answersWithin, err)
		case <-tick.C:
		}
	}
}

func (c *cluster) makeNode(ctx context.Context, name string) error {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("64"),
		corev1.ResourceMemory: resource.MustParse("512Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
		"nvidia.com/gpu":      *resource.NewQuantity(int64(c.options.gpus), resource.DecimalSI),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{fakeNode: "fake"},
			Labels: map[string]string{
				"kubernetes.io/hostname":           name,
				"kubernetes.io/arch":               "amd64",
				"kubernetes.io/os":                 "linux",
				"node.kubernetes.io/instance-type": "fake-gpu",
				"nvidia.com/gpu.present":           "true",
			},
		},
		Status: corev1.NodeStatus{Capacity: resources, Allocatable: resources},
	}
	_, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	return err
}

// nodesNotReady are those that no pod would be put on: not ready, or still with a taint.
func (c *cluster) nodesNotReady(ctx context.Context) ([]string, error) {
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var waiting []string
	for _, node := range nodes.Items {
		ready := len(node.Spec.Taints) == 0
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				ready = ready && condition.Status == corev1.ConditionTrue
			}
		}
		if !ready || len(node.Status.Conditions) == 0 {
			waiting = append(waiting, node.Name)
		}
	}
	return waiting, nil
}

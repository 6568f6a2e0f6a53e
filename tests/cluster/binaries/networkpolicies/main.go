// The engine that enforces the NetworkPolicies of the test cluster's node with iptables and IP sets.
// It is the network policy controller of kube-router. Nothing else of kube-router is compiled: the flaws
// that are reported for its version are in its service proxy and its BGP server.
// At SIGTERM it removes its rules and sets.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const (
	version = "networkpolicies of kube-router v2.1.0"
	// All rules are computed again at each relevant change, and after this time without a change.
	syncPeriod = time.Minute
)

func main() {
	klog.InitFlags(nil)
	kubeconfig := flag.String("kubeconfig", "", "path of the kubeconfig")
	node := flag.String("node", "", "name of this node")
	services := flag.String("service-cidr", "", "network of the services, in CIDR notation")
	show := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *show {
		fmt.Println(version)
		return
	}
	config := options.NewKubeRouterConfig()
	config.EnableIPv4 = true
	config.HostnameOverride = *node
	config.ClusterIPCIDRs = []string{*services}
	config.IPTablesSyncPeriod = syncPeriod
	if err := run(*kubeconfig, config); err != nil {
		log.Fatal(err)
	}
}

func run(kubeconfig string, config *options.KubeRouterConfig) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	credentials, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(credentials)
	if err != nil {
		return err
	}
	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}

	stop := make(chan struct{})
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	factory.Start(stop)
	factory.WaitForCacheSync(stop)

	var setsLock sync.Mutex
	newController := func() (*netpol.NetworkPolicyController, error) {
		return netpol.NewNetworkPolicyController(
			client, config, pods, policies, namespaces, &setsLock, tables, sets)
	}
	controller, err := newController()
	for err != nil {
		// The kubelet has not registered the node and its address yet.
		klog.Infof("waiting for the node: %v", err)
		select {
		case <-signals:
			return nil
		case <-time.After(200 * time.Millisecond):
		}
		controller, err = newController()
	}
	for _, one := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}{
		{pods, controller.PodEventHandler},
		{namespaces, controller.NamespaceEventHandler},
		{policies, controller.NetworkPolicyEventHandler},
	} {
		if _, err := one.informer.AddEventHandler(one.handler); err != nil {
			return err
		}
	}

	heartbeats := make(chan *healthcheck.ControllerHeartbeat)
	go func() {
		for range heartbeats { // the controller waits for a receiver
		}
	}()
	var running sync.WaitGroup
	running.Add(1)
	go controller.Run(heartbeats, stop, &running)
	<-signals
	close(stop)
	running.Wait()
	// Cleanup expects an empty copy of the rules, which only a new controller has.
	cleaner, err := newController()
	if err != nil {
		return err
	}
	cleaner.Cleanup()
	return nil
}

// The Go baseline: the operator's work for one GatewayBackup, with controller-runtime.
//
// It sends the requests of gateway_operator's reconcile in the same order and with the same bodies, and two more: the
// status Verifying, and a read of the record. It reads the object and resolves the gateway: workload, ReplicaSet, pod
// and Secret, by lists the first time and then by name. Backups of one gateway share the result as long as the operator
// shares it. Then follow the health, three status patches with the resourceVersion that was read, the backup, a read of
// the record, and one event. There is one call at a time per gateway, a limit on concurrent calls, and no finalizer. It
// implements only the successful case, because it is for measurements alone.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

var (
	backupKind = schema.GroupVersionKind{Group: "mcpgateway.dev", Version: "v1alpha1", Kind: "GatewayBackup"}
	deployment = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	replicaSet = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"}
	pod        = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	secret     = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	eventKind  = schema.GroupVersionKind{Version: "v1", Kind: "Event"}
)

type object = map[string]any

func main() {
	namespace := flag.String("namespace", "", "the namespace to watch")
	share := flag.Duration("share", 0, "how long backups of a gateway share the resolved pod")
	inFlight := flag.Int("calls-in-flight", 32, "maximum number of concurrent calls to admin APIs")
	workers := flag.Int("workers", 1000, "maximum number of concurrent reconciles; one that waits for its gateway's lock occupies a worker")
	flag.Parse()
	if err := run(*namespace, *share, *inFlight, *workers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(namespace string, share time.Duration, inFlight, workers int) error {
	ctrl.SetLogger(zap.New())
	config, err := ctrl.GetConfig() // reads the flag -kubeconfig, which controller-runtime defines
	if err != nil {
		return err
	}
	config.QPS = -1 // no client-side rate limit, as in the operator
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  runtime.NewScheme(),
		Metrics: server.Options{BindAddress: "0"},
		Cache:   cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		// Without this, objects without a Go type are always read from the API server, even if they are watched.
		Client: client.Options{Cache: &client.CacheOptions{Unstructured: true}},
	})
	if err != nil {
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 5 * time.Second}
	baseline := &reconciler{
		write: manager.GetClient(), read: manager.GetAPIReader(), share: share,
		http: &http.Client{Timeout: 120 * time.Second, Transport: transport},
		free: make(chan struct{}, inFlight), gateways: map[string]*gateway{},
	}
	watched := &unstructured.Unstructured{}
	watched.SetGroupVersionKind(backupKind)
	unfinished := predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !finished(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectNew.GetGeneration() != e.ObjectOld.GetGeneration() },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
	err = ctrl.NewControllerManagedBy(manager).Named("gatewaybackup").For(watched).WithEventFilter(unfinished).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).Complete(baseline)
	if err != nil {
		return err
	}
	go func() {
		<-manager.Elected()
		if manager.GetCache().WaitForCacheSync(context.Background()) {
			fmt.Println("ready")
		}
	}()
	return manager.Start(ctrl.SetupSignalHandler())
}

func finished(o client.Object) bool {
	phase, _, _ := unstructured.NestedString(o.(*unstructured.Unstructured).Object, "status", "phase")
	return phase == "Completed" || phase == "Failed"
}

// gateway serializes the backups of one gateway and caches its resolved target.
type gateway struct {
	lock       sync.Mutex
	resolved   target
	resolvedAt time.Time
}

// target is the pod to call, its ReplicaSet and address, and the admin key.
type target struct{ pod, replicaSet, address, key string }

type reconciler struct {
	write    client.Client
	read     client.Reader
	http     *http.Client
	share    time.Duration
	free     chan struct{}
	mutex    sync.Mutex
	gateways map[string]*gateway
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	cached := &unstructured.Unstructured{}
	cached.SetGroupVersionKind(backupKind)
	if err := r.write.Get(ctx, request.NamespacedName, cached); err != nil { // from the cache, as the body that kopf passes
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	name, _, _ := unstructured.NestedString(cached.Object, "spec", "gatewayRef", "name")
	of := r.gateway(name)
	of.lock.Lock()
	defer of.lock.Unlock()
	backup := &unstructured.Unstructured{}
	backup.SetGroupVersionKind(backupKind)
	if err := r.read.Get(ctx, request.NamespacedName, backup); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if finished(backup) {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, r.backUp(ctx, of, name, backup)
}

func (r *reconciler) gateway(name string) *gateway {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.gateways[name] == nil {
		r.gateways[name] = &gateway{}
	}
	return r.gateways[name]
}

func (r *reconciler) backUp(ctx context.Context, of *gateway, name string, backup *unstructured.Unstructured) error {
	if time.Since(of.resolvedAt) >= r.share {
		resolved, err := r.resolve(ctx, backup.GetNamespace(), name, of.resolved)
		if err != nil {
			return err
		}
		of.resolved, of.resolvedAt = resolved, time.Now()
	}
	resolved := of.resolved
	health, err := r.call(ctx, resolved, "GET", "/api/v1/system/health", nil)
	if err != nil {
		return err
	}
	uid, now := string(backup.GetUID()), time.Now().UTC()
	volume, _ := health["volume_id"].(string)
	sum := sha256.Sum256([]byte(volume + "\n" + uid))
	path := fmt.Sprintf("manual/%s-%s-%s.json.zst",
		backup.GetCreationTimestamp().UTC().Format("20060102T150405Z"), backup.GetName(), uid[:8])
	err = r.status(ctx, backup, object{
		"phase": "Running", "reason": "InProgress", "message": "Pod " + resolved.pod + " has been asked for the backup.",
		"observedGeneration": backup.GetGeneration(), "startTime": now.Format(time.RFC3339), "attempt": 1,
		"nextRetryTime": nil, "pod": resolved.pod, "path": path, "backupID": hex.EncodeToString(sum[:])[:32],
		"volumeID": volume, "gatewayID": health["gateway_id"],
	})
	if err != nil {
		return err
	}
	record, err := r.call(ctx, resolved, "POST", "/api/v1/system/backup", object{
		"path": path, "request_id": uid,
		"metadata": object{
			"namespace": backup.GetNamespace(), "name": backup.GetName(), "uid": uid, "group": "manual",
			"gateway": "Deployment " + name,
		},
	})
	if err != nil {
		return err
	}
	verification := object{"level": record["level"], "time": time.Now().UTC().Format(time.RFC3339)}
	counts, _ := record["counts"].(object)
	err = r.status(ctx, backup, object{
		"phase": "Verifying", "reason": "Verifying", "message": "The backup is complete; its record is being read back.",
		"observedGeneration": backup.GetGeneration(), "nextRetryTime": nil, "snapshotTime": record["created"],
		"backupID": record["backup_id"], "volumeID": record["volume_id"], "gatewayID": record["gateway_id"],
		"gatewayVersion": record["gateway_version"], "path": record["path"], "sizeBytes": record["stored_bytes"],
		"sha256": record["stored_sha256"], "contentDigest": record["content_sha256"], "verification": verification,
		"counts": object{
			"configs": counts["configs"], "projects": counts["projects"], "users": counts["users"],
			"apiKeys": counts["api_keys"], "disabledApiKeys": counts["disabled_api_keys"],
		},
	})
	if err != nil {
		return err
	}
	stored, err := r.call(ctx, resolved, "GET", "/api/v1/system/backups/"+record["backup_id"].(string), nil)
	if err != nil {
		return err
	}
	if stored["stored_sha256"] != record["stored_sha256"] {
		return fmt.Errorf("the record of %s changed", path)
	}
	message := fmt.Sprintf("%v, %v bytes, %v.", stored["path"], stored["stored_bytes"], stored["level"])
	end := time.Now().UTC().Format(time.RFC3339)
	condition := func(kind, status string) object {
		return object{
			"type": kind, "status": status, "reason": "BackedUp", "message": message, "lastTransitionTime": end,
			"observedGeneration": backup.GetGeneration(),
		}
	}
	err = r.status(ctx, backup, object{
		"phase": "Completed", "reason": "BackedUp", "message": message, "observedGeneration": backup.GetGeneration(),
		"completionTime": end, "nextRetryTime": nil, "verification": verification,
		"conditions": []any{condition("Finished", "True"), condition("Completed", "True"), condition("Failed", "False")},
	})
	if err != nil {
		return err
	}
	return r.event(ctx, backup, message, end)
}

// resolve returns the gateway's pod and admin key. With a previous target it reads the objects by name, else it lists them.
func (r *reconciler) resolve(ctx context.Context, namespace, name string, before target) (target, error) {
	workload, key := typed(deployment), typed(secret)
	sets, pods := []unstructured.Unstructured{*typed(replicaSet)}, []unstructured.Unstructured{*typed(pod)}
	get := func(into *unstructured.Unstructured, name string) error {
		return r.read.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, into)
	}
	var all errgroup.Group
	if before.pod != "" {
		all.Go(func() error { return get(workload, name) })
		all.Go(func() error { return get(&sets[0], before.replicaSet) })
		all.Go(func() error { return get(&pods[0], before.pod) })
	} else {
		if err := get(workload, name); err != nil {
			return target{}, err
		}
		match, _, _ := unstructured.NestedStringMap(workload.Object, "spec", "selector", "matchLabels")
		list := func(kind schema.GroupVersionKind, into *[]unstructured.Unstructured) func() error {
			return func() error {
				objects := &unstructured.UnstructuredList{}
				objects.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
				selected := client.MatchingLabelsSelector{Selector: labels.SelectorFromSet(match)}
				err := r.read.List(ctx, objects, client.InNamespace(namespace), selected, client.Limit(500))
				*into = objects.Items
				return err
			}
		}
		all.Go(list(replicaSet, &sets))
		all.Go(list(pod, &pods))
	}
	if err := all.Wait(); err != nil {
		return target{}, err
	}
	holder := workload.GetAnnotations()["mcpgateway.dev/admin-key-secret"]
	if err := get(key, holder); err != nil {
		return target{}, err
	}
	encoded, _, _ := unstructured.NestedString(key.Object, "data", "admin-key")
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return target{}, err
	}
	for _, set := range sets {
		for _, one := range pods {
			address, _, _ := unstructured.NestedString(one.Object, "status", "podIP")
			if owned(&set, workload) && owned(&one, &set) && address != "" {
				return target{one.GetName(), set.GetName(), address, string(bytes.TrimSpace(decoded))}, nil
			}
		}
	}
	return target{}, fmt.Errorf("%s has no pod", name)
}

func typed(kind schema.GroupVersionKind) *unstructured.Unstructured {
	empty := &unstructured.Unstructured{}
	empty.SetGroupVersionKind(kind)
	return empty
}

func owned(one, by *unstructured.Unstructured) bool {
	for _, owner := range one.GetOwnerReferences() {
		if owner.UID == by.GetUID() {
			return true
		}
	}
	return false
}

// status patches the status only if the object still has the resourceVersion that was read, and stores the new version.
func (r *reconciler) status(ctx context.Context, backup *unstructured.Unstructured, status object) error {
	body, err := json.Marshal(object{
		"metadata": object{"uid": backup.GetUID(), "resourceVersion": backup.GetResourceVersion()},
		"status":   status,
	})
	if err != nil {
		return err
	}
	return r.write.Status().Patch(ctx, backup, client.RawPatch(types.MergePatchType, body))
}

func (r *reconciler) event(ctx context.Context, backup *unstructured.Unstructured, message, at string) error {
	sum := sha256.Sum256([]byte(string(backup.GetUID()) + message))
	created := &unstructured.Unstructured{Object: object{
		"metadata": object{"name": backup.GetName() + "." + hex.EncodeToString(sum[:8]), "namespace": backup.GetNamespace()},
		"involvedObject": object{
			"apiVersion": "mcpgateway.dev/v1alpha1", "kind": "GatewayBackup", "namespace": backup.GetNamespace(),
			"name": backup.GetName(), "uid": string(backup.GetUID()),
		},
		"type": "Normal", "reason": "BackedUp", "message": message, "source": object{"component": "go-baseline"},
		"reportingComponent": "go-baseline", "reportingInstance": "go-baseline", "firstTimestamp": at, "lastTimestamp": at,
		"count": int64(1),
	}}
	created.SetGroupVersionKind(eventKind)
	return r.write.Create(ctx, created)
}

func (r *reconciler) call(ctx context.Context, at target, method, path string, body any) (object, error) {
	r.free <- struct{}{}
	defer func() { <-r.free }()
	sent, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+at.address+":8001"+path, bytes.NewReader(sent))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+at.key)
	request.Header.Set("Content-Type", "application/json")
	response, err := r.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 400 {
		return nil, fmt.Errorf("%s %s: %d", method, path, response.StatusCode)
	}
	var answer struct {
		Data object `json:"data"`
	}
	return answer.Data, json.Unmarshal(raw, &answer)
}

package node

import (
	"context"
	"fmt"
	"net"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const byService = "service"

// apiNames answers from the API server's Services and EndpointSlices, kept by watches.
type apiNames struct {
	services cache.Store
	slices   cache.Indexer
}

func serveDNS(ctx context.Context, config *rest.Config) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	services := inform(client, schema.GroupVersionResource{Version: "v1", Resource: "services"}, cache.Indexers{})
	slices := inform(client, schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}, cache.Indexers{
		byService: func(o any) ([]string, error) {
			s := o.(*unstructured.Unstructured)
			return []string{s.GetNamespace() + "/" + s.GetLabels()[discoveryv1.LabelServiceName]}, nil
		},
	})
	go services.Run(ctx.Done())
	go slices.Run(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), services.HasSynced, slices.HasSynced) {
		return fmt.Errorf("serving names: the API server's Services could not be listed")
	}
	return listenDNS(net.JoinHostPort(Address, "53"), apiNames{services.GetStore(), slices.GetIndexer()})
}

func inform(client dynamic.Interface, r schema.GroupVersionResource, indexers cache.Indexers) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.Resource(r).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return client.Resource(r).Watch(ctx, o)
		},
	}, &unstructured.Unstructured{}, 0, indexers)
}

func (n apiNames) service(namespace, name, host string) (addresses []net.IP, alias string, found bool) {
	o, exists, err := n.services.GetByKey(namespace + "/" + name)
	if err != nil || !exists {
		return nil, "", false
	}
	var s corev1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.(*unstructured.Unstructured).Object, &s); err != nil {
		return nil, "", false
	}
	switch {
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		return nil, s.Spec.ExternalName, host == ""
	case s.Spec.ClusterIP != corev1.ClusterIPNone && host == "":
		return []net.IP{net.ParseIP(s.Spec.ClusterIP)}, "", true
	}
	addresses = n.endpoints(namespace, name, host)
	return addresses, "", host == "" || len(addresses) > 0
}

func (n apiNames) endpoints(namespace, name, host string) (addresses []net.IP) {
	found, err := n.slices.ByIndex(byService, namespace+"/"+name)
	if err != nil {
		return nil
	}
	for _, o := range found {
		var s discoveryv1.EndpointSlice
		if runtime.DefaultUnstructuredConverter.FromUnstructured(o.(*unstructured.Unstructured).Object, &s) != nil || s.AddressType != discoveryv1.AddressTypeIPv4 {
			continue
		}
		for _, e := range s.Endpoints {
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			named := host == "" || e.Hostname != nil && *e.Hostname == host
			if !ready || !named {
				continue
			}
			for _, a := range e.Addresses {
				addresses = append(addresses, net.ParseIP(a))
			}
		}
	}
	return addresses
}

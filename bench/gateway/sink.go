//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
)

// sink takes Envoy's access log, as Serin in a cluster will, and counts it.
type sink struct {
	accesslog.UnimplementedAccessLogServiceServer
	entries atomic.Int64
}

func (s *sink) StreamAccessLogs(stream accesslog.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		s.entries.Add(int64(len(m.GetHttpLogs().GetLogEntry())))
	}
}

const sinkReport = "access log entries: %d\n"

// serveSink counts until SIGTERM, then prints the count.
func serveSink(port string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return fmt.Errorf("listening on $PORT: %w", err)
	}
	s, server := &sink{}, grpc.NewServer()
	accesslog.RegisterAccessLogServiceServer(server, s)
	context.AfterFunc(ctx, server.Stop)
	if err := server.Serve(ln); err != nil {
		return fmt.Errorf("serving the access log service: %w", err)
	}
	_, err = fmt.Fprintf(os.Stdout, sinkReport, s.entries.Load())
	return err
}

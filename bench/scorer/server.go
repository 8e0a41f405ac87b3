package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a process of ours, with its children.
type server struct {
	name, addr string
	cmd        *exec.Cmd
}

func startServer(ctx context.Context, name string, env []string, command func(port int) []string) (*server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	args := command(port)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	var output bytes.Buffer
	cmd.Stderr = &output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %q: %w", name, err)
	}
	s := &server{name: name, addr: "127.0.0.1:" + strconv.Itoa(port), cmd: cmd}
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get("http://" + s.addr + "/")
		if err == nil {
			resp.Body.Close()
			return s, nil
		}
	}
	s.stop()
	return nil, fmt.Errorf("%q does not answer on %s: %s", name, s.addr, output.String())
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	_ = s.cmd.Wait()
}

// cpu is the time that the process and its children have used, user and system, in ticks of 10 ms summed.
func (s *server) cpu() (time.Duration, error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	parents, ticks := map[int]int{}, map[int]int64{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it ended
		}
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		parents[pid], _ = strconv.Atoi(f[1])
		user, _ := strconv.ParseInt(f[11], 10, 64)
		system, _ := strconv.ParseInt(f[12], 10, 64)
		ticks[pid] = user + system
	}
	total := int64(0)
	for pid := range ticks {
		for up := pid; up > 1; up = parents[up] {
			if up == s.cmd.Process.Pid {
				total += ticks[pid]
				break
			}
		}
	}
	if total == 0 {
		return 0, errors.New("no CPU time found in /proc")
	}
	return time.Duration(total) * tick, nil
}

// sameScores makes sure that both answer the same question.
func sameScores(a, b *server) error {
	x, err := scores(a)
	if err != nil {
		return err
	}
	y, err := scores(b)
	if err != nil {
		return err
	}
	if len(x) != 2 || len(y) != 2 {
		return fmt.Errorf("two rows got %d and %d scores", len(x), len(y))
	}
	for i := range x {
		if math.Abs(x[i]-y[i]) > 1e-9*math.Abs(y[i]) {
			return fmt.Errorf("row %d: %q says %v, %q says %v", i, a.name, x[i], b.name, y[i])
		}
	}
	fmt.Printf("both score the sample request as %v\n", x)
	return nil
}

func scores(s *server) ([]float64, error) {
	resp, err := http.Post("http://"+s.addr+"/score", "application/json", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var got struct{ Result []float64 }
	if err := json.Unmarshal(text, &got); err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%q answers %d %q", s.name, resp.StatusCode, text)
	}
	return got.Result, nil
}

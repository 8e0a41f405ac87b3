package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// progress says what is done and how long it took; the zero value says nothing.
type progress struct {
	to    io.Writer
	began time.Time
	mu    *sync.Mutex
}

func newProgress(to io.Writer) progress {
	if to == nil {
		to = os.Stderr
	}
	return progress{to: to, began: time.Now(), mu: &sync.Mutex{}}
}

func (p progress) say(format string, args ...any) {
	if p.to == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.to, "cluster %6.1fs  %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}

func (p progress) since(began time.Time, format string, args ...any) {
	p.say("%s: %.1f s", fmt.Sprintf(format, args...), time.Since(began).Seconds())
}

// lock takes a file's lock; ok is false when somebody else has it. The lock ends with the last process that inherited
// the file, however that ends.
func lock(path string) (f *os.File, ok bool, err error) {
	f, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, true, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("locking %s: %w", path, err)
}

// lockWait waits for a lock and says once that it waits.
func lockWait(ctx context.Context, path string, log progress) (unlock func(), err error) {
	for said := false; ; said = true {
		f, ok, err := lock(path)
		if err != nil {
			return nil, err
		}
		if ok {
			return func() { f.Close() }, nil
		}
		if !said {
			log.say("waiting for another run that holds %s", path)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, fmt.Errorf("waiting for %s: %w", path, err)
		}
	}
}

// pause waits between two looks at something that cannot be waited for.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

const (
	otherNamespace = "other"
	readyWithin    = 30 * time.Second
	endsWithin     = 10 * time.Second
	askAgainAfter  = 20 * time.Millisecond
)

// The server that all tests of the run share. Each test has its own workflow ids and task queues.
var shared *server

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	directory, err := os.MkdirTemp("", "e2e-go-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	shared, err = startServer(directory)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.stop()
	code := m.Run()
	if code != 0 {
		fmt.Fprintf(os.Stderr, "--- end of the server's log\n%s\n", shared.logTail())
	}
	return code
}

// server is one dev server, a process of its own.
type server struct {
	address string
	logPath string
	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended
}

// startServer returns once the server serves both namespaces.
func startServer(directory string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{
		address: fmt.Sprintf("127.0.0.1:%d", port),
		logPath: filepath.Join(directory, "server.log"),
		ended:   make(chan struct{}),
	}
	log, err := os.Create(s.logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.process = serverCommand(filepath.Join(directory, "data.db"), port)
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.process.Wait()
		close(s.ended)
	}()
	if err := s.waitUntilReady(); err != nil {
		s.stop()
		return nil, fmt.Errorf("%w\n%s", err, s.logTail())
	}
	return s, nil
}

// stop asks the process to end, and insists after a while.
func (s *server) stop() {
	_ = s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(endsWithin):
		_ = s.process.Process.Kill()
		<-s.ended
	}
}

func (s *server) waitUntilReady() error {
	deadline := time.After(readyWithin)
	for {
		err := s.serves("default", otherNamespace)
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return errors.New("the server ended while starting")
		case <-deadline:
			return fmt.Errorf("the server is not ready after %v: %w", readyWithin, err)
		case <-time.After(askAgainAfter):
		}
	}
}

func (s *server) serves(namespaces ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c, err := client.DialContext(ctx, client.Options{HostPort: s.address, Logger: quiet{}})
	if err != nil {
		return err
	}
	defer c.Close()
	for _, namespace := range namespaces {
		request := &workflowservice.DescribeNamespaceRequest{Namespace: namespace}
		if _, err := c.WorkflowService().DescribeNamespace(ctx, request); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) logTail() string {
	text, err := os.ReadFile(s.logPath)
	if err != nil {
		return "(no log)"
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-80):], "\n")
}

// serverCommand serves dataFile on port. Both servers take the same flags.
func serverCommand(dataFile string, port int) *exec.Cmd {
	flags := []string{
		"server", "start-dev", "--headless", "--db-filename", dataFile, "--port", fmt.Sprint(port),
		"--namespace", otherNamespace, "--search-attribute", searchAttribute + "=Keyword",
	}
	if os.Getenv("E2E_SERVER") == "temporal" {
		// Off by default there, on by default in ours.
		flags = append(flags, "--dynamic-config-value", "system.enableCrossNamespaceCommands=true")
		return exec.Command(environment("TEMPORAL_BIN", "temporal"), flags...)
	}
	ours, _ := filepath.Abs("../../target/debug/mainspring")
	return exec.Command(environment("MAINSPRING_BIN", ours), flags...)
}

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// Interop is the Go side of tests/interop, whose README says what its workflows do.
//
//	interop ADDRESS QUEUE  is the worker whose histories are recorded
package main

import (
	"log"
	"os"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: interop ADDRESS QUEUE")
	}
	c, err := client.Dial(client.Options{HostPort: os.Args[1], Identity: "interop", Logger: quiet{}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	// Without a cache, a worker after it goes on at once.
	worker.SetStickyWorkflowCacheSize(0)
	w := worker.New(c, os.Args[2], worker.Options{Identity: "interop", BuildID: "interop"})
	registerWorkflows(w)
	registerActivities(w)
	if err := w.Run(worker.InterruptCh()); err != nil {
		log.Fatal(err)
	}
}

// quiet drops what the SDK logs: activities fail on purpose.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

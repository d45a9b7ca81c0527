// Polyglot is the Go side of the tests in tests/polyglot.
//
//	polyglot worker ADDRESS                 serves GoGreeting on polyglot-go; says "listening"
//	polyglot start ADDRESS NAME LANGUAGE... runs each language's greeting by name; prints its result
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// GoGreeting greets from Go.
func GoGreeting(_ workflow.Context, name string) (string, error) {
	return fmt.Sprintf("hello %s from Go", name), nil
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: polyglot worker ADDRESS | polyglot start ADDRESS NAME LANGUAGE...")
	}
	c, err := client.Dial(client.Options{HostPort: os.Args[2]})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if os.Args[1] == "worker" {
		err = serve(c)
	} else {
		err = start(c, os.Args[3], os.Args[4:])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve(c client.Client) error {
	w := worker.New(c, "polyglot-go", worker.Options{})
	w.RegisterWorkflow(GoGreeting)
	if err := w.Start(); err != nil {
		return err
	}
	fmt.Println("listening")
	<-worker.InterruptCh()
	w.Stop()
	return nil
}

func start(c client.Client, name string, languages []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, language := range languages {
		options := client.StartWorkflowOptions{
			ID:        uuid.NewString(),
			TaskQueue: "polyglot-" + strings.ToLower(language),
		}
		run, err := c.ExecuteWorkflow(ctx, options, language+"Greeting", name)
		if err != nil {
			return err
		}
		var greeting string
		if err := run.Get(ctx, &greeting); err != nil {
			return err
		}
		fmt.Println(greeting)
	}
	return nil
}

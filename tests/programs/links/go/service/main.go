// A Go service that calls another for each request, in the way that MODE names.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

var backend = "http://127.0.0.1:" + os.Getenv("BACKEND_PORT")

var client = &http.Client{Timeout: 150 * time.Millisecond, Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256}}

// Where the call of an ID that ends in c goes, nobody listens.
func place(path string) string {
	id, _, _ := strings.Cut(strings.SplitN(path, "/", 3)[2], ".")
	if !strings.HasSuffix(id, "c") || strings.HasSuffix(path, ".2") {
		return backend
	}
	last, _ := strconv.Atoi(id[len(id)-3 : len(id)-1])
	return strings.Replace(backend, "127.0.0.1", fmt.Sprintf("127.0.1.%d", last), 1)
}

func call(path string) int {
	response, err := client.Get(place(path) + path)
	if err != nil {
		return http.StatusBadGateway
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// How a request is served before its answer is written.
var ways = map[string]func(id string){
	"plain": func(id string) { call("/out/" + id) },
	"big":   func(id string) { call("/big/" + id) },
	"row":   func(id string) { call("/out/" + id + ".1"); call("/out/" + id + ".2") },
	"goroutine": func(id string) {
		done := make(chan int)
		go func() { done <- call("/out/" + id) }()
		<-done
	},
	"three": func(id string) {
		var group sync.WaitGroup
		for n := 1; n <= 3; n++ {
			group.Add(1)
			go func(n int) {
				defer group.Done()
				call(fmt.Sprintf("/out/%s.%d", id, n))
			}(n)
		}
		group.Wait()
	},
	"timer": func(id string) { time.Sleep(2 * time.Millisecond); call("/out/" + id) },
	"after": func(id string) { go call("/out/" + id) },
	// A second call where the first takes long; the first answer counts.
	"hedge": func(id string) {
		done := make(chan int, 2)
		go func() { done <- call("/out/" + id + ".1") }()
		go func() { time.Sleep(time.Millisecond); done <- call("/out/" + id + ".2") }()
		<-done
	},
	"fallback": func(id string) {
		if call("/out/"+id+".1") != http.StatusOK {
			call("/out/" + id + ".2")
		}
	},
	"retry": func(id string) {
		for try := 1; call(fmt.Sprintf("/flaky/%s.%d", id, try)) != http.StatusOK; try++ {
			time.Sleep(2 * time.Millisecond)
		}
	},
	"workers":  func(id string) { done := make(chan struct{}); jobs <- job{id, done}; <-done },
	"coalesce": func(id string) { flights.do(func() { call("/out/" + id) }) },
	"cache":    func(id string) { answer.get(id) },
	"batch":    func(id string) { done := make(chan struct{}); merge <- job{id, done}; <-done },
}

type job struct {
	id   string
	done chan struct{}
}

// A pool of workers fed by a channel.
var jobs = make(chan job)

func work() {
	for job := range jobs {
		call("/out/" + job.id)
		close(job.done)
	}
}

// Single flight: who comes while a call is under way waits for its end.
type flight struct {
	mutex sync.Mutex
	done  chan struct{}
}

var flights flight

func (f *flight) do(call func()) {
	f.mutex.Lock()
	if done := f.done; done != nil {
		f.mutex.Unlock()
		<-done
		return
	}
	done := make(chan struct{})
	f.done = done
	f.mutex.Unlock()
	call()
	f.mutex.Lock()
	f.done = nil
	f.mutex.Unlock()
	close(done)
}

// A cache: who finds it stale refreshes it, and so does a ticker.
type cache struct {
	mutex      sync.Mutex
	fresh      time.Time
	refreshing bool
}

var answer cache

func (c *cache) get(id string) {
	c.mutex.Lock()
	stale := !c.refreshing && time.Since(c.fresh) > 3*time.Millisecond
	c.refreshing = c.refreshing || stale
	c.mutex.Unlock()
	if !stale {
		return
	}
	call("/out/" + id)
	c.mutex.Lock()
	c.fresh, c.refreshing = time.Now(), false
	c.mutex.Unlock()
}

func poll() {
	for n := 1; ; n++ {
		call(fmt.Sprintf("/poll/%d", n))
		time.Sleep(5 * time.Millisecond)
	}
}

// A batcher: what is asked for within 2 ms becomes one call.
var merge = make(chan job)

func flush() {
	for first := range merge {
		batch := []job{first}
		timer := time.After(2 * time.Millisecond)
		for waiting := true; waiting; {
			select {
			case next := <-merge:
				batch = append(batch, next)
			case <-timer:
				waiting = false
			}
		}
		go func() {
			ids := make([]string, len(batch))
			for n, job := range batch {
				ids[n] = job.id
			}
			call("/batch/" + strings.Join(ids, ","))
			for _, job := range batch {
				close(job.done)
			}
		}()
	}
}

func handler(mode string) http.Handler {
	if mode == "proxy" {
		target, _ := url.Parse(backend)
		proxy := httputil.NewSingleHostReverseProxy(target)
		proxy.Transport = client.Transport
		return proxy
	}
	way := ways[mode]
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		way(strings.TrimPrefix(request.URL.Path, "/in/"))
		fmt.Fprintln(response, "done")
	})
}

func main() {
	mode := os.Getenv("MODE")
	switch mode {
	case "workers":
		for n := 0; n < 16; n++ {
			go work()
		}
	case "poller", "cache":
		go poll()
	case "batch":
		go flush()
	}
	ways["poller"], ways["pool"] = ways["plain"], ways["plain"]
	if mode == "pool" {
		client.Transport.(*http.Transport).MaxConnsPerHost = 8
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), handler(mode)))
}

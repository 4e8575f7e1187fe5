// A service that calls another, or passes requests on: go-relay [ADDRESS:]PORT [BACKEND]. /call/ID asks for /hello/ID at the
// backend, so does /both/ID, twice, /later/ID after a while, and /spawn/ID from a goroutine of its own; /proxy/ID goes through a
// ReverseProxy. Without a backend it answers everything itself, /hello/ID with 10 kB if asked for /hello/ID?long. Prints
// "listening" when it does.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

func main() {
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 100
	backend := &url.URL{Scheme: "http"}
	if len(os.Args) > 2 {
		backend.Host = os.Args[2]
	}
	proxy := httputil.NewSingleHostReverseProxy(backend)
	call := func(w io.Writer, path string) {
		response, err := http.Get(backend.String() + path)
		if err != nil {
			panic(err)
		}
		defer response.Body.Close()
		io.Copy(w, response.Body)
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		if backend.Host == "" {
			parts[1] = "hello"
		}
		switch parts[1] {
		case "call":
			call(w, "/hello/"+parts[2]+"?long")
		case "later":
			time.Sleep(200 * time.Millisecond)
			call(w, "/hello/"+parts[2])
		case "both":
			call(io.Discard, "/hello/"+parts[2])
			call(w, "/hello/"+parts[2])
		case "spawn":
			done := make(chan bool)
			go func() {
				call(io.Discard, "/hello/"+parts[2])
				done <- true
			}()
			<-done
		case "proxy":
			proxy.ServeHTTP(w, r)
		default:
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, "hello\n")
			if r.URL.RawQuery == "long" {
				w.Write(make([]byte, 10_000))
			}
		}
	}
	address := os.Args[1]
	if !strings.Contains(address, ":") {
		address = "127.0.0.1:" + address
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	panic(http.Serve(listener, http.HandlerFunc(handler)))
}

// A service on fasthttp, whose client writes and reads on the goroutine that calls it and whose connections any goroutine takes.
package main

import (
	"log"
	"os"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

var (
	backend = "http://127.0.0.1:" + os.Getenv("BACKEND_PORT")
	client  = &fasthttp.Client{MaxConnsPerHost: 256}
)

func call(path string) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(backend + path)
	if err := client.Do(request, response); err != nil {
		log.Print(err)
	}
}

func serve(ctx *fasthttp.RequestCtx) {
	_, id, _ := strings.Cut(string(ctx.Path()), "/in/")
	if os.Getenv("MODE") == "fanout" {
		done := make(chan struct{})
		for _, suffix := range []string{".1", ".2"} {
			go func(path string) { call(path); done <- struct{}{} }("/out/" + id + suffix)
		}
		<-done
		<-done
	} else {
		call("/out/" + id)
	}
	ctx.WriteString("done\n")
}

func main() {
	server := fasthttp.Server{Handler: serve, IdleTimeout: time.Minute}
	log.Fatal(server.ListenAndServe("127.0.0.1:" + os.Getenv("PORT")))
}

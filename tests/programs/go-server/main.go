// A service on net/http: go-server PORT. Prints "listening" when it does.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("content-length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

func least(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	if r.Method == "POST" {
		body, _ := io.ReadAll(r.Body)
		answer(w, 200, body)
		return
	}
	size := 0
	if len(parts) > 2 {
		size, _ = strconv.Atoi(parts[2])
	}
	switch parts[1] {
	case "bytes":
		answer(w, 200, bytes.Repeat([]byte("b"), size))
	case "chunked":
		for ; size > 0; size -= 1000 {
			w.Write(bytes.Repeat([]byte("c"), least(size, 1000)))
			w.(http.Flusher).Flush()
		}
	case "empty":
		w.WriteHeader(204)
	case "missing":
		answer(w, 404, []byte("not found\n"))
	case "fail":
		answer(w, 500, []byte("failed\n"))
	default:
		answer(w, 200, []byte("hello\n"))
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	panic(http.Serve(listener, http.HandlerFunc(serve)))
}

// Makes the requests listed on standard input and says what came back: go-client PORT.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var method, path string
		var size int
		fmt.Sscan(lines.Text(), &method, &path, &size)
		var body io.Reader
		if size > 0 {
			body = bytes.NewReader(bytes.Repeat([]byte("p"), size))
		}
		request, err := http.NewRequest(method, "http://127.0.0.1:"+os.Args[1]+path, body)
		if err != nil {
			panic(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			panic(err)
		}
		received, err := io.Copy(io.Discard, response.Body)
		if err != nil {
			panic(err)
		}
		response.Body.Close()
		fmt.Println(method, path, response.StatusCode, size, received)
	}
}

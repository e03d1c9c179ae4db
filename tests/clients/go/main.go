// Command sdk is two S3 libraries spoken to by tests/clients/client.py: one JSON request a line in, one answer a
// line out. Its argument says which: aws-sdk-go-v2 or minio-go.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Ask is one request. Which fields count depends on the operation.
type Ask struct {
	Op           string
	URL          string
	AccessKey    string `json:"access_key"`
	SecretKey    string `json:"secret_key"`
	Region       string
	Suffix       string
	Bucket       string
	Key          string
	File         string
	Range        string
	IfNoneMatch  string `json:"if_none_match"`
	Prefix       string
	Keys         []string
	SourceBucket string `json:"source_bucket"`
	SourceKey    string `json:"source_key"`
}

// Library is what both can do. Value may be nil.
type Library interface {
	Do(ask Ask) (value any, err error)
}

var errUnknown = errors.New("unknown operation")

func main() {
	var library Library
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var ask Ask
		if err := json.Unmarshal(lines.Bytes(), &ask); err != nil {
			panic(err)
		}
		var value any
		var err error
		switch {
		case ask.Op != "open":
			value, err = library.Do(ask)
		case os.Args[1] == "minio-go":
			library, err = openMinio(ask)
		default:
			library, err = openAWS(ask)
		}
		answer := map[string]any{"value": value}
		if err != nil {
			answer = map[string]any{"error": fmt.Sprint(err)}
		}
		text, err := json.Marshal(answer)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(text))
	}
}

func save(body io.ReadCloser, path string) error {
	defer body.Close()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(file, body)
	return err
}

// unseekable hides everything of a file but Read.
type unseekable struct{ io.Reader }

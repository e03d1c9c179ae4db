package main

import (
	"context"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

type minioLibrary struct {
	client *minio.Client
}

func openMinio(ask Ask) (Library, error) {
	endpoint, err := url.Parse(ask.URL)
	if err != nil {
		return nil, err
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:           credentials.NewStaticV4(ask.AccessKey, ask.SecretKey, ""),
		Secure:          endpoint.Scheme == "https",
		TrailingHeaders: true,
		MaxRetries:      1,
		// No region: it asks for the bucket's location first, as it does by default.
	})
	return minioLibrary{client}, err
}

func (library minioLibrary) Do(ask Ask) (any, error) {
	ctx, client := context.Background(), library.client
	switch ask.Op {
	case "put", "upload":
		_, err := client.FPutObject(ctx, ask.Bucket, ask.Key, ask.File, minio.PutObjectOptions{PartSize: 16 << 20})
		return nil, err
	case "stream":
		file, err := os.Open(ask.File)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		options := minio.PutObjectOptions{PartSize: 5 << 20}
		_, err = client.PutObject(ctx, ask.Bucket, ask.Key, unseekable{file}, -1, options)
		return nil, err
	case "get":
		options := minio.GetObjectOptions{}
		if ask.Range != "" {
			first, last, _ := strings.Cut(strings.TrimPrefix(ask.Range, "bytes="), "-")
			start, _ := strconv.ParseInt(first, 10, 64)
			end, _ := strconv.ParseInt(last, 10, 64)
			if err := options.SetRange(start, end); err != nil {
				return nil, err
			}
		}
		if ask.IfNoneMatch != "" {
			if err := options.SetMatchETagExcept(strings.Trim(ask.IfNoneMatch, `"`)); err != nil {
				return nil, err
			}
		}
		found, err := client.GetObject(ctx, ask.Bucket, ask.Key, options)
		if err == nil {
			err = save(found, ask.File)
		}
		if minio.ToErrorResponse(err).StatusCode == 304 {
			return "not modified", nil
		}
		return nil, err
	case "keys":
		keys := []string{}
		options := minio.ListObjectsOptions{Prefix: ask.Prefix, Recursive: true, MaxKeys: 5}
		for found := range client.ListObjects(ctx, ask.Bucket, options) {
			if found.Err != nil {
				return nil, found.Err
			}
			keys = append(keys, found.Key)
		}
		return keys, nil
	case "delete":
		return nil, client.RemoveObject(ctx, ask.Bucket, ask.Key, minio.RemoveObjectOptions{})
	case "delete_many":
		listed := make(chan minio.ObjectInfo, len(ask.Keys))
		for _, key := range ask.Keys {
			listed <- minio.ObjectInfo{Key: key}
		}
		close(listed)
		for failed := range client.RemoveObjects(ctx, ask.Bucket, listed, minio.RemoveObjectsOptions{}) {
			return nil, failed.Err
		}
		return nil, nil
	case "copy":
		_, err := client.CopyObject(ctx,
			minio.CopyDestOptions{Bucket: ask.Bucket, Object: ask.Key},
			minio.CopySrcOptions{Bucket: ask.SourceBucket, Object: ask.SourceKey})
		return nil, err
	case "buckets":
		names := []string{}
		listed, err := client.ListBuckets(ctx)
		for _, found := range listed {
			names = append(names, found.Name)
		}
		return names, err
	case "has_bucket":
		return client.BucketExists(ctx, ask.Bucket)
	case "presign_get":
		signed, err := client.PresignedGetObject(ctx, ask.Bucket, ask.Key, time.Minute, nil)
		if err != nil {
			return nil, err
		}
		return signed.String(), nil
	case "presign_put":
		signed, err := client.PresignedPutObject(ctx, ask.Bucket, ask.Key, time.Minute)
		if err != nil {
			return nil, err
		}
		return signed.String(), nil
	}
	return nil, errUnknown
}

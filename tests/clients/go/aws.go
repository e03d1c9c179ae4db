package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

type awsLibrary struct {
	client *s3.Client
}

func openAWS(ask Ask) (Library, error) {
	endpoint, err := url.Parse(ask.URL)
	if err != nil {
		return nil, err
	}
	if ask.Suffix != "" {
		endpoint.Host = ask.Suffix + ":" + endpoint.Port()
	}
	// Virtual hosts are known to no resolver.
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(address)
		return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
	}
	options := s3.Options{
		BaseEndpoint:     aws.String(endpoint.String()),
		Region:           ask.Region,
		Credentials:      credentials.NewStaticCredentialsProvider(ask.AccessKey, ask.SecretKey, ""),
		UsePathStyle:     ask.Suffix == "",
		RetryMaxAttempts: 1,
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(transport *http.Transport) {
			transport.DialContext = dial
		}),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	}
	return awsLibrary{s3.New(options)}, nil
}

func (library awsLibrary) Do(ask Ask) (any, error) {
	ctx, client := context.Background(), library.client
	bucket, key := aws.String(ask.Bucket), aws.String(ask.Key)
	switch ask.Op {
	case "put", "upload", "stream":
		file, err := os.Open(ask.File)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		input := &s3.PutObjectInput{Bucket: bucket, Key: key, Body: file}
		if ask.Op == "put" {
			_, err = client.PutObject(ctx, input)
			return nil, err
		}
		if ask.Op == "stream" {
			input.Body = unseekable{file}
		}
		_, err = manager.NewUploader(client).Upload(ctx, input) //nolint:staticcheck // what programs in the field use
		return nil, err
	case "get":
		input := &s3.GetObjectInput{Bucket: bucket, Key: key}
		if ask.Range != "" {
			input.Range = aws.String(ask.Range)
		}
		if ask.IfNoneMatch != "" {
			input.IfNoneMatch = aws.String(ask.IfNoneMatch)
		}
		found, err := client.GetObject(ctx, input)
		if hasStatus(err, 304) {
			return "not modified", nil
		}
		if err != nil {
			return nil, err
		}
		return nil, save(found.Body, ask.File)
	case "keys":
		keys := []string{}
		input := &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String(ask.Prefix), MaxKeys: aws.Int32(5)}
		for pages := s3.NewListObjectsV2Paginator(client, input); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, found := range page.Contents {
				keys = append(keys, *found.Key)
			}
		}
		return keys, nil
	case "delete":
		_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key})
		return nil, err
	case "delete_many":
		var listed []types.ObjectIdentifier
		for _, name := range ask.Keys {
			listed = append(listed, types.ObjectIdentifier{Key: aws.String(name)})
		}
		done, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: listed}})
		if err == nil && len(done.Errors) > 0 {
			err = errors.New(*done.Errors[0].Message)
		}
		return nil, err
	case "copy":
		segments := strings.Split(ask.SourceKey, "/")
		for i, segment := range segments {
			// PathEscape leaves the plus as it is, and S3 would read it as a blank.
			segments[i] = strings.ReplaceAll(url.PathEscape(segment), "+", "%2B")
		}
		source := aws.String(ask.SourceBucket + "/" + strings.Join(segments, "/"))
		_, err := client.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: key, CopySource: source})
		return nil, err
	case "buckets":
		names := []string{}
		listed, err := client.ListBuckets(ctx, &s3.ListBucketsInput{})
		if err != nil {
			return nil, err
		}
		for _, found := range listed.Buckets {
			names = append(names, *found.Name)
		}
		return names, nil
	case "has_bucket":
		_, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucket})
		if hasStatus(err, 404) {
			return false, nil
		}
		return true, err
	case "presign_get":
		signed, err := s3.NewPresignClient(client).PresignGetObject(
			ctx, &s3.GetObjectInput{Bucket: bucket, Key: key}, s3.WithPresignExpires(time.Minute))
		if err != nil {
			return nil, err
		}
		return signed.URL, nil
	case "presign_put":
		signed, err := s3.NewPresignClient(client).PresignPutObject(
			ctx, &s3.PutObjectInput{Bucket: bucket, Key: key}, s3.WithPresignExpires(time.Minute))
		if err != nil {
			return nil, err
		}
		return signed.URL, nil
	}
	return nil, errUnknown
}

func hasStatus(err error, status int) bool {
	var answer *awshttp.ResponseError
	return errors.As(err, &answer) && answer.HTTPStatusCode() == status
}

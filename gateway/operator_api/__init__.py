"""The operator API: keys, buckets and tenants over HTTP, on a listener that S3 clients never reach."""

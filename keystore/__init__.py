"""Tenants, buckets and access keys, kept in Postgres; secrets sealed with a key that lives elsewhere."""

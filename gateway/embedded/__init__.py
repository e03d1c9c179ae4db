"""Real services for a quick start and for tests: Postgres and an S3 store, run as children of this process.

Optional: the programs come with the extra `bucketwarden[embedded]`. Linux only, loopback only.
"""

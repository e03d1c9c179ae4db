"""Bucketwarden: a SigV4 authentication gateway in front of an existing S3 store."""

__version__ = "0.1.0"

"""What S3 means: addresses, operations, documents, and the two rewritings. Pure: no I/O, no clock, no logging."""

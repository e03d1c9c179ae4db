"""What the gateway costs beside its store and beside a plain proxy: `make bench`, `python -m bench --help`."""

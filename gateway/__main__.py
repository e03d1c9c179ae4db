"""`python -m gateway` is the command `bucketwarden`."""

from gateway.cli import main

main(prog_name="bucketwarden")

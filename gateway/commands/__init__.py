"""The commands of `bucketwarden`, by what they talk to: the operator API over HTTP, or this machine."""

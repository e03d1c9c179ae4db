"""Signature Version 4, as a server must read it and as a client must write it. Pure: no I/O, no clock, no logging."""

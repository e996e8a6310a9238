"""The other end of `braid serve`: `braid.Client(url)` is called as a local model is. It needs httpx, and no torch."""

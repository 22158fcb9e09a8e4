"""The three services and the sandbox; only `main` and `together` import several of them."""

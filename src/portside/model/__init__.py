"""What a model, version, signature, artifact, manifest and inference request are: frozen values, no I/O but digests."""

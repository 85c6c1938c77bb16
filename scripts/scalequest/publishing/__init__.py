"""What is published: dataset card, provenance, checksums."""

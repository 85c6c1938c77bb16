"""What the Snakefile and the tools ask: code hashes, estimates, stored rows, runs."""

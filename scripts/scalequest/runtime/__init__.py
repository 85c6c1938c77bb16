"""How a program runs: log, signals, leases, files. Nothing here shapes a row, so code hashes leave it out."""

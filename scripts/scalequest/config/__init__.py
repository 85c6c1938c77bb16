"""The config: its schema, its defaults, its checks and their messages."""

"""Models: sources, tokenizers, chat formats, prompts, the engine and the server. Knows no mathematics."""

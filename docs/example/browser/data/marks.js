scalequest.block("marks","H4sIAAAAAAAAA4uOBQApu0wNAgAAAA==");

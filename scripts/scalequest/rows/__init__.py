"""Tables of rows, and the store in which finished rows are kept."""

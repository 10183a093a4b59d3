"""Commands about the files and accounts of the servers."""

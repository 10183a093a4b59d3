"""The subcommands of `vigil`."""

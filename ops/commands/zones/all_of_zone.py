"""All of `vigil zone`: each import adds its commands to the group."""

from ops.commands.zones import files, records, what_if
from ops.commands.zones.zone import zone

__all__ = ["files", "records", "what_if", "zone"]

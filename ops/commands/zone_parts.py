"""All of `vigil zone`: each import adds its commands to the group."""

from ops.commands import zone_files, zone_record, zone_trial
from ops.commands.zone import zone

__all__ = ["zone", "zone_files", "zone_record", "zone_trial"]

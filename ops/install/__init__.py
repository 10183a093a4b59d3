"""Installation and upgrade: files of Compose and systemd, secrets, the installer."""

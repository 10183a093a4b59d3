#!/bin/sh
# Gives every source of the simulated fleet a credential of its own; what is there is passed over.
set -eu
directory=$VIGIL_HOME/fleet
vigil simulate --guards "${1:-25}" --write-sources "$directory"
vigil guard import "$directory/guards.csv" --credentials "$directory/credentials.csv"
vigil device import "$directory/devices.csv" --credentials "$directory/credentials.csv"

#!/bin/sh
# Brings the libraries of the map and the charts from npm, at the versions of package-lock.json, with the licences of all
# that is in them, into vendor/: the console has no build step, these files are served as they are.
set -eu
cd "$(dirname "$0")"

npm ci --no-audit --no-fund --ignore-scripts
rm -rf vendor
mkdir -p vendor/maplibre-gl vendor/licences
for file in dist/maplibre-gl.mjs dist/maplibre-gl-worker.mjs dist/maplibre-gl-shared.mjs dist/maplibre-gl.css LICENSE.txt; do
    cp "node_modules/maplibre-gl/$file" vendor/maplibre-gl/
done
mkdir -p vendor/uplot
cp node_modules/uplot/dist/uPlot.esm.js node_modules/uplot/dist/uPlot.min.css node_modules/uplot/LICENSE vendor/uplot/
mkdir -p vendor/pmtiles
cp node_modules/pmtiles/dist/pmtiles.js node_modules/pmtiles/package.json vendor/pmtiles/ # it ships no licence file: BSD-3-Clause
find node_modules -type f -iname 'licen[cs]e*' | while read -r licence; do
    package=$(dirname "${licence#node_modules/}" | tr / -)
    cp "$licence" "vendor/licences/$package.txt"
done
rm -rf node_modules
cp package-lock.json vendor/.stamp

#!/bin/bash
# stand-in-images.sh [MIRROR]: for machines that reach Debian's packages but no image registry. Imports images of HAProxy and Prometheus
# from Debian 12, under the names and with the entry points of the official ones in docker-compose.yml. Needs root, debootstrap
# and an engine; Grafana is in no such archive.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
image_of() { grep -oE "image: $1:.*" docker-compose.yml | cut -d" " -f2; }

debootstrap --variant=minbase --include=haproxy,prometheus bookworm "$folder" ${1:+"$1"} >"$folder.log" 2>&1 ||
    { tail -5 "$folder.log"; exit 1; }
rm -f "$folder.log" "$folder"/var/cache/apt/archives/*.deb
cp "$folder"/usr/bin/prometheus "$folder"/bin/prometheus 2>/dev/null || true
rm -rf "$folder"/etc/prometheus && mkdir -p "$folder"/etc/prometheus "$folder"/prometheus "$folder"/usr/local/etc/haproxy
chown nobody:nogroup "$folder"/prometheus

tar -C "$folder" -c . >"$folder.tar"
trap 'rm -rf "$folder" "$folder.tar"' EXIT
docker import --change 'USER haproxy' --change 'STOPSIGNAL SIGUSR1' \
    --change 'CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]' "$folder.tar" "$(image_of haproxy)"
docker import --change 'USER nobody' --change 'ENTRYPOINT ["/bin/prometheus"]' \
    --change 'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]' \
    "$folder.tar" "$(image_of prom/prometheus)"

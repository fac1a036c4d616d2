#!/usr/bin/env bash
# Download the data sets into the current folder with wget.
#   cd PATH_to_STORE_DATASET && bash PATH_to_SMPL-Pose/scripts/download_datasets_wget.sh [SET...]
# SMPL_POSE_MIRROR=URL: folder of the files NAME.tar, instead of the METRO release. Run the command again to resume.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$repository/scripts/lib/download_datasets.sh"

fetch() {
    wget --no-verbose --show-progress --continue --tries=10 --waitretry=10 --timeout=60 --output-document="$2" "$1"
}

if ! command -v wget > /dev/null; then
    say "error: wget not found; install it (apt-get install wget), or use download_datasets_azcopy.sh"
    exit 2
fi
download_datasets "$@"

#!/usr/bin/env bash
# Download the data sets into the current folder with azcopy (usually faster than wget).
#   cd PATH_to_STORE_DATASET && export azcopy_path=PATH_to_AZCOPY
#   bash PATH_to_SMPL-Pose/scripts/download_datasets_azcopy.sh [SET...]
# azcopy_path: the program or its folder. Default: azcopy on the PATH, then ./azcopy* and ~/azcopy* (the unpacked archive
# of azcopy). SMPL_POSE_MIRROR=URL: folder of the files NAME.tar, instead of the METRO release. Run the command again
# after an interruption: azcopy resumes its job.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$repository/scripts/lib/download_datasets.sh"

find_azcopy() {
    local place places=(azcopy ./azcopy*/azcopy ~/azcopy ~/azcopy*/azcopy)
    [[ -z ${azcopy_path:-} ]] || places=("$azcopy_path" "$azcopy_path/azcopy")
    for place in "${places[@]}"; do
        if [[ ! -d $place ]] && command -v "$place"; then return; fi
    done
    say "error: azcopy not found${azcopy_path:+ at $azcopy_path}; set its path (export azcopy_path=PATH_to_AZCOPY) or use" \
        "download_datasets_wget.sh"
    exit 2
}

fetch() {
    local url=$1 file=$2 log=.$2.log job="" token=()
    [[ $url != *\?* ]] || token=(--source-sas "${url#*\?}")
    # azcopy prints the name of its job when it starts, so the log has it after any interruption
    [[ ! -f $log ]] || job=$(sed -n 's/.*Job \([-0-9a-f]*\) has started.*/\1/p' "$log" | tail -n 1)
    if [[ -z $job ]] || ! "$azcopy" jobs resume "$job" ${token[@]+"${token[@]}"} >&2 || [[ ! -s $file ]]; then
        "$azcopy" copy "$url" "$file" | tee "$log" >&2 || return 1
    fi
    rm -f "$log"
}

azcopy=$(find_azcopy)
download_datasets "$@"

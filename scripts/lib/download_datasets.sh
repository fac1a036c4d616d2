# shellcheck shell=bash disable=SC2154  # repository is set by the scripts
# Shared by download_datasets_azcopy.sh and download_datasets_wget.sh, which define
#   fetch URL FILE    download URL to FILE and resume an earlier download; FILE exists during the download
# and call download_datasets. All files are in the current folder.

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"
    exit 0
fi

release=https://datarelease.blob.core.windows.net/metro/datasets
all_sets=(Tax-H36m-coco40k-Muco-UP-Mpii human3.6m coco_smpl muco up3d mpii 3dpw)

say() { printf '%s\n' "$*" >&2; }

explain_alternatives() {
    if [[ -z ${SMPL_POSE_MIRROR:-} ]]; then
        say "The host of the METRO release ($release) refuses public access (HTTP 409)."
    else
        say "The mirror is SMPL_POSE_MIRROR=${SMPL_POSE_MIRROR%%\?*}; it needs a file NAME.tar for every set."
    fi
    say "What you can do:"
    say "  - from a copy on a web server:     export SMPL_POSE_MIRROR=https://HOST/FOLDER   and run this again"
    say "  - from a copy on this machine:     main.py --data_root DIR, or export SMPL_POSE_DATA=DIR"
    say "  - without registration, synthetic: python scripts/make_synthetic_data.py --output DIR --num_samples 1000"
}

# url_of NAME: URL of NAME.tar. A mirror may end in a ?query, for example an access token; it follows the file name.
url_of() {
    local base=${SMPL_POSE_MIRROR:-$release} query=
    if [[ $base == *\?* ]]; then
        query="?${base#*\?}"
        base=${base%%\?*}
    fi
    printf '%s/%s.tar%s' "${base%/}" "$1" "$query"
}

# check_archive FILE: succeed if it is a complete tar of files and folders with paths inside the current folder.
check_archive() {
    local listing unsafe
    # tar would also unpack a compressed archive, which may grow a thousandfold; the releases are not compressed
    if [[ $(head -c 262 "$1" | tail -c 5) != ustar ]]; then
        say "$1 is damaged or not an uncompressed tar archive"
        return 1
    fi
    if ! listing=$(tar -tvPf "$1" --numeric-owner 2> /dev/null) || [[ -z $listing ]]; then
        say "$1 is damaged or not a tar archive"
        return 1
    fi
    # sparse files may claim any size; the size is in column 3 of GNU tar, in column 5 of others
    if ! awk -v most="$(wc -c < "$1")" '{ sum += $2 ~ "/" ? $3 : $5 } END { exit sum > most }' <<< "$listing"; then
        say "$1 is refused, because it unpacks to more than its size"
        return 1
    fi
    unsafe=$(grep -v '^[-d]' <<< "$listing" || tar -tPf "$1" 2> /dev/null | grep -E '^/|(^|/)\.\.(/|$)') || return 0
    say "$1 is refused, because it has links, devices or paths outside its folder: $(head -n 1 <<< "$unsafe")"
    return 1
}

# unpack NAME FILE: unpack into a hidden folder first, so that a folder NAME is always a complete set.
unpack() {
    local inner
    hidden=.$1.unpacking
    rm -rf "$hidden"
    # tar of root keeps owners and setuid bits by default
    mkdir "$hidden" && tar -xf "$2" -C "$hidden" --no-same-owner --no-same-permissions || return 1
    chmod -R a-st,u+rwX "$hidden" || return 1
    inner=$(find "$hidden" -mindepth 1 -maxdepth 3 -type d -name "$1" -print -quit)
    mv "${inner:-$hidden}" "$1" && rm -rf "$hidden"
}

# download_set NAME: download, check and unpack, unless the folder is there.
download_set() {
    local name=$1 part=$1.tar.part
    if [[ -e $name ]]; then
        say "$name: already here"
        return
    fi
    say "$name: downloading"
    if ! fetch "$(url_of "$name")" "$part"; then
        refused=yes
        [[ -s $part ]] || rm -f "$part"
        say "$name: download failed$([[ ! -e $part ]] || echo ", $part is kept: run this again to resume")"
        return 1
    fi
    say "$name: checking and unpacking"
    if ! check_archive "$part"; then
        rm -f "$part"
        say "$name: the bad archive was removed; run this again to download it again"
        return 1
    fi
    if ! unpack "$name" "$part"; then
        say "$name: cannot unpack $part (is the disk full?); it is kept, run this again"
        return 1
    fi
    rm -f "$part"
    say "$name: done"
}

# download_datasets [NAME...]: the named sets, or all seven.
download_datasets() {
    local name known missing=() hidden="" refused=""
    for name in "$@"; do
        for known in "${all_sets[@]}"; do [[ $name == "$known" ]] && continue 2; done
        say "error: there is no set called '$name'; choose from: ${all_sets[*]}"
        exit 2
    done
    trap 'rm -rf "${hidden:-}"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    [[ $# -gt 0 ]] || set -- "${all_sets[@]}"
    for name in "$@"; do
        download_set "$name" && continue
        missing+=("$name")
        # A mirror may have some of the sets; the METRO host refuses all of them or none.
        [[ -n ${SMPL_POSE_MIRROR:-} ]] || break
    done
    if [[ ${#missing[@]} -gt 0 ]]; then
        say "error: not downloaded: ${missing[*]}"
        [[ -z $refused ]] || explain_alternatives
        exit 1
    fi
    say "All sets are in $PWD. Link them: cd $repository && ln -s $PWD ./datasets"
}

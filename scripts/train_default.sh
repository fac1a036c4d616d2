#!/usr/bin/env bash
# Train the demo's model from nothing: synthetic people, then a transformer on MoveNet's features, then MoveNet's upper
# stages together with it.
#
#     bash scripts/train_default.sh                                     about 4 hours on 2 CPU cores
#     PEOPLE=30000 EPOCHS=5 UPPER_EPOCHS=3 bash scripts/train_default.sh   a first usable one in about 2 hours
#
# It can be stopped and started again at any time: people are saved in files of 500, training in checkpoints.
# ASSETS=none draws people without fetched assets; OUTPUT is the file of weights.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
people=${PEOPLE:-100000} epochs=${EPOCHS:-8} processes=${PROCESSES:-2} cache=${CACHE:-data/people} name=${NAME:-default}
upper_people=${UPPER_PEOPLE:-7500} upper_epochs=${UPPER_EPOCHS:-4}
assets=${ASSETS:-assets} output=${OUTPUT:-pretrained/smpl_pose_s.safetensors}

# one thread a process; memory freed by one picture is kept for the next
export OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
[ "$assets" = none ] || [ -d "$assets" ] || bash scripts/fetch_synthetic_assets.sh
# the flags of both recipes: utils/options/presets.py

# 1. MoveNet is frozen
python scripts/cache_features.py --output "$cache" --num_samples "$people" --num_workers "$processes" \
    --assets "$assets" --turned 0
torchrun --nproc_per_node="$processes" main.py --preset=movenet_s --exp_name="$name" --auto_load 1 \
    --feature_cache="$cache" --num_samples="$people" --num_epochs="$epochs"

# 2. its stages above stride 8 learn, too, on other people, some of them lying or upside down
python scripts/cache_features.py --output "${cache}_upper" --num_samples "$upper_people" --num_workers "$processes" \
    --assets "$assets" --seed 1 --turned 0.15
torchrun --nproc_per_node="$processes" main.py --preset=movenet_s_upper --exp_name="${name}_upper" --auto_load 1 \
    --load_checkpoint="logs/$name/checkpoints/epoch_***.pt" \
    --feature_cache="${cache}_upper" --num_samples="$upper_people" --num_epochs="$upper_epochs" \
    --batch_size=$((32 / processes))
python scripts/export_weights.py --input "logs/${name}_upper/checkpoints/epoch_***.pt" --eight_bits \
    --start "logs/$name/checkpoints/epoch_***.pt" --share 0.7 --output "$output"

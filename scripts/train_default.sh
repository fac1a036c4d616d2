#!/usr/bin/env bash
# Train the demo's model from nothing: synthetic people, then a transformer on MoveNet's features, then MoveNet's upper
# stages together with it.
#
#     bash scripts/train_default.sh                                     about 4 hours on 2 CPU cores
#     PEOPLE=30000 EPOCHS=5 UPPER_EPOCHS=3 bash scripts/train_default.sh   a first usable one in about 2 hours
#
# It can be stopped and started again at any time: people are saved in files of 500, training in checkpoints.
# ASSETS=none draws people without fetched assets; OUTPUT is the file of weights.
#
# START=FILE leaves out the first part and trains the second one from these weights; UPPER_FLAGS are more flags for it,
# UPPER_SEED draws other people:
#
#     NAME=next CACHE=data/next START=pretrained/smpl_pose_s.safetensors UPPER_SEED=3 UPPER_PEOPLE=20000 \
#         UPPER_FLAGS="--w_orient=10 --w_bones=20" OUTPUT=next.safetensors bash scripts/train_default.sh
#
# takes about 2.5 hours of one CPU core (five people a second, then 16 samples a second). With a GPU: PROCESSES=1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
people=${PEOPLE:-100000} epochs=${EPOCHS:-8} processes=${PROCESSES:-2} cache=${CACHE:-data/people} name=${NAME:-default}
upper_people=${UPPER_PEOPLE:-7500} upper_epochs=${UPPER_EPOCHS:-4} upper_seed=${UPPER_SEED:-1}
read -ra upper_flags <<< "${UPPER_FLAGS:-}"
start=${START:-"logs/$name/checkpoints/epoch_***.pt"}
assets=${ASSETS:-assets} output=${OUTPUT:-pretrained/smpl_pose_s.safetensors}

# one thread a process; memory freed by one picture is kept for the next
export OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
[ "$assets" = none ] || [ -d "$assets" ] || bash scripts/fetch_synthetic_assets.sh
# the flags of both recipes: utils/options/presets.py

# 1. MoveNet is frozen
if [ -z "${START:-}" ]; then
    python scripts/cache_features.py --output "$cache" --num_samples "$people" --num_workers "$processes" \
        --assets "$assets" --turned 0
    torchrun --nproc_per_node="$processes" main.py --preset=movenet_s --exp_name="$name" --auto_load 1 \
        --feature_cache="$cache" --num_samples="$people" --num_epochs="$epochs"
fi

# 2. its stages above stride 8 learn, too, on other people, some of them lying or upside down
python scripts/cache_features.py --output "${cache}_upper" --num_samples "$upper_people" --num_workers "$processes" \
    --assets "$assets" --seed "$upper_seed" --turned 0.15
torchrun --nproc_per_node="$processes" main.py --preset=movenet_s_upper --exp_name="${name}_upper" --auto_load 1 \
    --load_checkpoint="$start" \
    --feature_cache="${cache}_upper" --num_samples="$upper_people" --num_epochs="$upper_epochs" \
    --batch_size=$((32 / processes)) ${upper_flags[@]+"${upper_flags[@]}"}
python scripts/export_weights.py --input "logs/${name}_upper/checkpoints/epoch_***.pt" --eight_bits \
    --start "$start" --share 0.7 --output "$output"

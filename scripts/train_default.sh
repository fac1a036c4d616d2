#!/usr/bin/env bash
# The demo's model, from nothing: synthetic people, what MoveNet sees of them, a transformer trained on that.
#
#     bash scripts/train_default.sh                       about 2 hours on 2 CPU cores
#     PEOPLE=30000 EPOCHS=5 bash scripts/train_default.sh   a first usable one in under an hour
#
# Stop and start it as often as you like: people are kept in files of 500, training in checkpoints.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
people=${PEOPLE:-100000} epochs=${EPOCHS:-8} processes=${PROCESSES:-2} cache=${CACHE:-data/people} name=${NAME:-default}

# one thread a process; memory freed by one picture is kept for the next
export OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
[ -d assets ] || bash scripts/fetch_synthetic_assets.sh
python scripts/cache_features.py --output "$cache" --num_samples "$people" --num_workers "$processes"
torchrun --nproc_per_node="$processes" main.py --exp_name="$name" --auto_load 1 \
    --data_mode=synthetic --backbone=movenet --feature_cache="$cache" --num_samples="$people" \
    --num_epochs="$epochs" --batch_size=64 --num_workers=0 --precision=bf16 --eval_epochs=0 --save_steps=200 --keep_last=2 \
    --lr=5e-4 --lr_schedule=cosine --warmup_steps=100 --weight_decay=0.01 --clip_grad=50 --ema=0.999 \
    --stage_weights 0.2 0.3 0.5 1 --keypoint_loss=l1 --w_2dj=200 --w_3dj=200 --loss_vertices=1000 --w_betas=2 --dropout=0
python scripts/export_weights.py --input "logs/$name/checkpoints/epoch_***.pt" --output pretrained/smpl_pose_s.safetensors

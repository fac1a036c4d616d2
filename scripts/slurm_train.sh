#!/usr/bin/env bash
# Train on any number of machines under Slurm. The job resumes by itself after pre-emption, time limits and failures.
#   sbatch --nodes=2 --gpus-per-node=4 scripts/slurm_train.sh --exp_name=SMPL-Pose --data_mode=h36m --batch_size=50 ...
# All arguments go to main.py. Two minutes before the time limit, and before pre-emption, every process receives SIGUSR1,
# finishes its step and saves a checkpoint; then the job is queued again.
#SBATCH --job-name=smpl-pose
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@120
#SBATCH --output=slurm-%x-%j.log
set -euo pipefail

# One task per machine runs this script again as the launcher of the processes of this machine.
if [[ ${1:-} == --as-launcher ]]; then
    shift
    saved=0
    # The launcher ignores the signal and forwards it, because Slurm may send it to the launcher alone. Processes that
    # receive it twice handle it once.
    trap '' USR1
    torchrun --nnodes="$SLURM_NNODES" --nproc_per_node="${SLURM_GPUS_ON_NODE:-1}" --max_restarts=10 \
        --rdzv_backend=c10d --rdzv_id="$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" \
        --rdzv_endpoint="$SMPL_POSE_FIRST_NODE:${SMPL_POSE_PORT:-29400}" \
        main.py --auto_load=1 "$@" &
    launcher=$!
    trap 'saved=1; pkill -USR1 --parent $launcher || true' USR1
    wait $launcher && code=0 || code=$?
    while kill -0 $launcher 2> /dev/null; do wait $launcher && code=0 || code=$?; done
    # 64: saved because of the signal, not because training is finished
    [[ $code -eq 0 && $saved -eq 1 ]] && exit 64
    exit $code
fi

cd "${SLURM_SUBMIT_DIR:-.}"
export SMPL_POSE_FIRST_NODE=${SMPL_POSE_FIRST_NODE:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
srun --kill-on-bad-exit=0 bash scripts/slurm_train.sh --as-launcher "$@" && code=0 || code=$?
if [[ $code -eq 64 ]]; then
    echo "saved a checkpoint; the job is queued again"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit $code

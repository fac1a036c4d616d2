"""A trace of a few training steps, for chrome://tracing or Perfetto."""

from pathlib import Path

import torch

WAIT, WARMUP, ACTIVE = 2, 2, 4  # steps


class StepProfiler:
    """Traces the steps 5 to 8 of rank 0 into a file; None: does nothing. Call `step` after each step."""

    def __init__(self, path: Path | None):
        self._profile = None
        if path is None:
            return
        self._profile = torch.profiler.profile(
            schedule=torch.profiler.schedule(wait=WAIT, warmup=WARMUP, active=ACTIVE, repeat=1),
            on_trace_ready=lambda profile: self._write(profile, path),
        )
        self._profile.start()

    def step(self):
        """A step is over."""
        if self._profile is not None:
            self._profile.step()

    def _write(self, profile: torch.profiler.profile, path: Path):
        try:
            profile.export_chrome_trace(str(path))
            print(f"wrote {path}: open it in chrome://tracing or ui.perfetto.dev", flush=True)
        except (OSError, RuntimeError) as error:
            print(f"warning: cannot write {path} ({error}); training continues", flush=True)

    def close(self):
        """Stop; steps after the traced ones cost nothing."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

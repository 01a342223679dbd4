"""Jobs on a GPU: the same probe, its inputs moved to the GPU first. The answers come back as bytes either way."""

from __future__ import annotations

from dataclasses import replace

from dlcv_lab.checking.model import Job

_MOVE = """

def _moved(value, device):
    if isinstance(value, torch.Tensor):
        moved = value.detach().to(device)
        return moved.requires_grad_(value.requires_grad)
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(item, device) for item in value)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value


_run_on_cpu = run


def run(ns, data, device="cuda"):
    with torch.device(device):
        return _run_on_cpu(ns, _moved(data, device))
"""


def on_gpu(job: Job) -> Job:
    """Return the job with a probe that moves its inputs to the GPU and makes new tensors there."""
    return replace(job, probe=job.probe + _MOVE)

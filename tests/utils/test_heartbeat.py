"""Several watches in one process, over a store of their own; real processes die in test_faults.py."""

import os
import subprocess
import sys

import pytest
import torch.distributed as dist

from utils.errors import UserError
from utils.train import heartbeat as peers
from utils.train.heartbeat import Heartbeat


@pytest.fixture
def two(monkeypatch):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setattr(peers, "RANK_ZERO_GRACE", 0.2)
    both = [Heartbeat(rank, 2, "test", ("127.0.0.1", store.port)) for rank in range(2)]
    for peer in both:
        peer._sign("alive")
    yield both
    del store


def test_the_living_are_not_dead(two, monkeypatch):
    assert [peer.find_dead() for peer in two] == [None, None]
    monkeypatch.setattr(peers, "PATIENCE", 0.0)
    two[1]._sign("alive")  # a new sign since the last look
    assert two[0].find_dead() is None
    assert two[0].find_dead().startswith(f"rank 1 (process {os.getpid()} on ")
    two[1]._sign("done")
    assert two[0].find_dead() is None


def test_a_process_of_this_machine_is_known_to_be_gone_at_once(two, monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    while not peers._is_gone(gone.pid):  # a zombie by then, for nobody waited for it
        pass
    for machine, dead in ((peers._machine(), True), ("elsewhere", False)):  # where numbers of processes mean nothing
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: gone.pid)
            patch.setattr(peers, "_machine", lambda machine=machine: machine)
            two[1]._sign("alive")
        assert (f"process {gone.pid} on" in (two[0].find_dead() or "")) is dead
    gone.wait()


@pytest.mark.parametrize("ranks", [(0, 1), (1, 0), (1,)])
def test_an_error_is_told_once(two, capsys, ranks):
    for rank in ranks:
        with pytest.raises(SystemExit) as end:
            two[rank].report(UserError("no such file"))
        assert end.value.code == 2
    expected = "error: no such file (on rank 1)\n" if ranks[0] == 1 else "error: no such file\n"
    assert capsys.readouterr().err == expected


def test_whose_peer_failed_is_silent_and_whose_peer_vanished_names_it(two, capsys, monkeypatch):
    monkeypatch.setattr(peers.signal, "signal", lambda *_: None)
    monkeypatch.setattr(peers, "_is_gone", lambda _: True)
    with pytest.raises(SystemExit):
        two[0].report_lost_process()
    assert "error: rank 1" in capsys.readouterr().err
    two[1]._sign("failed")
    with pytest.raises(SystemExit):
        two[0].report_lost_process()
    assert capsys.readouterr().err == ""

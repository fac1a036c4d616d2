"""Jobs of the page: one at a time, in order, with their places; stopped ones end and clean up."""

import threading

import pytest

from utils.demo.jobs import Jobs, Progress
from utils.errors import UserError

LONG = 30  # seconds that a busy machine may take


@pytest.fixture
def jobs():
    jobs = Jobs(waiting=2)
    yield jobs
    jobs.close()


def blocker(gate: threading.Event, started: threading.Event):
    def work(job):
        started.set()
        while not gate.wait(0.01):
            job.report(Progress("wait", 1, 2))
        return "done"

    return work


def test_one_works_and_the_others_know_their_places(jobs):
    gate, started, order, clean = threading.Event(), threading.Event(), [], []
    first = jobs.submit(blocker(gate, started), lambda: clean.append(1))
    others = [jobs.submit(lambda job, n=n: order.append(n), lambda n=n: clean.append(n)) for n in (2, 3)]
    assert started.wait(LONG) and not others[0].wait(0.05)
    assert [jobs.place(job) for job in (first, *others)] == [0, 1, 2] and order == []
    assert first.progress == Progress("wait", 1, 2)
    with pytest.raises(UserError, match="2 requests are waiting"):
        jobs.submit(print, lambda: clean.append("full"))
    gate.set()
    assert all(job.wait(LONG) for job in (first, *others)) and order == [2, 3]
    assert first.result() == "done"
    jobs.close()
    assert clean == ["full", 1, 2, 3] and jobs.place(others[1]) == 0


def test_stopped_jobs_make_room_and_clean_up(jobs):
    never, started, clean = threading.Event(), threading.Event(), []
    first = jobs.submit(blocker(never, started), lambda: clean.append(1))
    second = jobs.submit(lambda job: pytest.fail("it was stopped in line"), lambda: clean.append(2))
    third = jobs.submit(lambda job: "third")
    assert started.wait(LONG)
    second.stop()
    assert jobs.place(third) == 1 and clean == [2]
    first.stop()
    assert third.wait(LONG) and third.result() == "third"
    third.stop()  # has ended
    assert third.result() == "third"
    for job in (first, second):
        with pytest.raises(UserError, match="stopped"):
            job.result()
    jobs.close()
    assert clean == [2, 1]


def test_errors_of_the_work_are_raised_where_its_result_is_read(jobs):
    def fail(job):
        raise UserError("no picture")

    job = jobs.submit(fail)
    assert job.wait(LONG)
    with pytest.raises(UserError, match="no picture"):
        job.result()
